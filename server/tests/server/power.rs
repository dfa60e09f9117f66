//! Power over the API: what is kept, what is shown, who may give orders. ipmitool's place is taken by a script.

use crate::harness::Server;
use ramet_server::power::drive::Limits;
use ramet_server::power::run::Tools;
use ramet_wire::power::{PowerAttempt, PowerDone, PowerShown, PowerState, Trouble};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const SECRET: &str = "hush-hush-hush";

/// Where the script is, and what it leaves.
fn bench(server: &Server) -> PathBuf {
    server.dir.path().join("bench")
}

/// A BMC: a file says whether the machine is on; suite 17 is not supported; with a file `liar` orders do nothing.
fn server() -> Server {
    let server = Server::with(|config| {
        let bench = config.state.parent().unwrap().join("bench");
        config.tools = Tools::only(vec![bench, "/usr/bin".into(), "/bin".into()]);
        let ms = Duration::from_millis;
        config.power = Limits { soft_off: ms(300), settle: ms(300), look: ms(20) };
    });
    let bench = bench(&server);
    fs::create_dir(&bench).unwrap();
    let script = SCRIPT.replace("BENCH", bench.to_str().unwrap()).replace("SECRET", SECRET);
    fs::write(bench.join("ipmitool"), script).unwrap();
    fs::set_permissions(bench.join("ipmitool"), fs::Permissions::from_mode(0o755)).unwrap();
    server
}

const SCRIPT: &str = r#"#!/bin/sh
echo "$*" >>BENCH/calls
[ "$IPMI_PASSWORD" = SECRET ] || { echo 'RAKP 2 HMAC is invalid' >&2; exit 1; }
case "$*" in
*'-C 17'*) echo 'invalid authentication algorithm' >&2; exit 1 ;;
*status) if [ -e BENCH/on ]; then echo 'Chassis Power is on'; else echo 'Chassis Power is off'; fi ;;
*0x09*) echo 01 05 a0 04 00 00 00 ;;
*'power on') [ -e BENCH/liar ] || touch BENCH/on ;;
*'power soft' | *'power off') [ -e BENCH/liar ] || rm -f BENCH/on ;;
esac
"#;

fn add(server: &Server, name: &str, mac: &str) {
    server.as_operator().post("/v1/machines", &json!({ "name": name, "macs": [mac] })).done(201);
}

fn put(server: &Server, name: &str, body: &Value) -> crate::harness::Answer {
    let body = serde_json::to_vec(body).unwrap();
    server.as_operator().send("PUT", &format!("/v1/machines/{name}/power"), &[], &body)
}

fn settings(address: &str, secret: Option<&str>) -> Value {
    json!({ "kind": "ipmi", "address": address, "user": "admin", "secret": secret })
}

/// The last line of an answer in lines.
fn report(answer: crate::harness::Answer) -> Value {
    let text = answer.done(200).text();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn order(server: &Server, body: &Value) -> Vec<PowerDone> {
    let line = report(server.as_operator().post("/v1/power", body));
    serde_json::from_value(line["report"].clone()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn probed(server: &Server, name: &str) -> PowerShown {
    let line = report(server.as_operator().post(&format!("/v1/machines/{name}/power/probe"), &()));
    serde_json::from_value(line["report"].clone()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_machine_is_set_probed_and_switched_and_its_secret_is_in_no_answer_and_in_no_file() {
    let server = server();
    add(&server, "web01", "52:54:00:00:00:01");
    let answer = put(&server, "web01", &settings("10.9.8.7", Some(SECRET)));
    let texts = [answer.text(), server.as_operator().get("/v1/machines/web01").text()];
    let early = order(&server, &json!({ "machines": ["web01"], "action": "on" }));
    assert_eq!(early[0].error.as_ref().unwrap().trouble, Trouble::Settings, "not before a probe");
    let shown = probed(&server, "web01");
    let found = shown.probed.as_ref().unwrap();
    assert_eq!((found.suite, found.next_boot, shown.secret), (Some(3), true, true));
    let done = order(&server, &json!({ "machines": ["web01"], "action": "on", "network": true }));
    assert_eq!((done[0].state, &done[0].error), (PowerState::On, &None));
    let done = order(&server, &json!({ "machines": ["web01"], "action": "cycle" }));
    assert_eq!(done[0].state, PowerState::On);
    let attempts = server.as_operator().get("/v1/machines/web01/power/attempts");
    let texts = texts.into_iter().chain([attempts.text(), format!("{shown:?} {done:?} {early:?}")]);
    for text in texts {
        assert!(!text.contains(SECRET), "{text}");
    }
    let attempts: Vec<PowerAttempt> = attempts.json(200);
    let said: Vec<&str> = attempts.iter().map(|attempt| attempt.what.as_str()).collect();
    assert!(["on", "soft-off", "next-boot", "status"].iter().all(|what| said.contains(what)), "{said:?}");
    assert!(attempts.iter().any(|attempt| attempt.result == "unsupported" && attempt.how == "ipmi suite 17"));
    assert!(!fs::read_to_string(bench(&server).join("calls")).unwrap().contains(SECRET), "in an argv");
    for entry in fs::read_dir(server.state()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let bytes = fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{:?}", entry.path());
    }
}

#[test]
fn settings_survive_a_restart_and_a_probe_does_too() {
    let mut server = server();
    add(&server, "web01", "52:54:00:00:00:01");
    put(&server, "web01", &settings("10.9.8.7", Some(SECRET))).done(200);
    probed(&server, "web01");
    server.restart();
    let done = order(&server, &json!({ "machines": ["web01"], "action": "on" }));
    assert_eq!((done[0].state, &done[0].error), (PowerState::On, &None));
}

#[test]
fn a_secret_does_not_follow_to_another_address_or_user() {
    let server = server();
    add(&server, "web01", "52:54:00:00:00:01");
    put(&server, "web01", &settings("10.9.8.7", Some(SECRET))).done(200);
    let refused = put(&server, "web01", &settings("6.6.6.6", None)).refused(400);
    assert!(refused.message.contains("give the secret again"), "{}", refused.message);
    let shown: PowerShown = put(&server, "web01", &settings("10.9.8.7", None)).json(200);
    assert!(shown.secret, "the same address keeps it");
    probed(&server, "web01");
}

#[test]
fn a_bmc_that_lies_or_refuses_the_password_is_told_with_a_next_step() {
    let server = server();
    for (number, name) in ["web01", "web02"].into_iter().enumerate() {
        add(&server, name, &format!("52:54:00:00:00:0{number}"));
        put(&server, name, &settings("10.9.8.7", Some(SECRET))).done(200);
        probed(&server, name);
    }
    fs::write(bench(&server).join("liar"), "").unwrap();
    put(&server, "web02", &settings("10.9.8.7", Some("wrong"))).done(200);
    let line = report(server.as_operator().post("/v1/machines/web02/power/probe", &()));
    let message = line["error"]["message"].as_str().unwrap();
    assert!(message.contains("RAKP 2 HMAC is invalid") && message.contains("set user and password"), "{message}");
    let done = order(&server, &json!({ "machines": ["web01", "web02"], "action": "on" }));
    let troubles: Vec<Trouble> = done.iter().map(|done| done.error.as_ref().unwrap().trouble).collect();
    assert_eq!(troubles, [Trouble::LiesOk, Trouble::Settings], "web02 was never probed with this password");
    assert!(done.iter().all(|done| !done.error.as_ref().unwrap().next.is_empty()));
}

#[test]
fn malformed_orders_and_settings_change_nothing() {
    let server = server();
    add(&server, "web01", "52:54:00:00:00:01");
    for body in [
        json!({ "kind": "telnet", "address": "h" }),
        json!({ "kind": "ipmi", "address": "-oProxyCommand=x" }),
        json!({ "kind": "ipmi", "address": "h", "secret": "a\nb" }),
        json!({ "kind": "fence", "address": "h", "options": { "agent": "fence_wti", "fence": { "passwd_script": "/bin/sh" } } }),
        json!({ "kind": "fence", "address": "h", "options": { "agent": "../../bin/sh" } }),
        json!({ "kind": "ipmi", "address": "h", "secret": "x".repeat(21) }),
        json!({ "kind": "manual", "password": "x" }),
    ] {
        put(&server, "web01", &body).refused(400);
    }
    server.as_operator().get("/v1/machines/web01/power").refused(404);
    put(&server, "web09", &settings("h", None)).refused(404);
    let twice = json!({ "machines": ["web01", "web01"], "action": "on" });
    let many: Vec<String> = (0..1001).map(|n| format!("m{n}")).collect();
    for (body, status) in [
        (twice, 400),
        (json!({ "machines": [], "action": "on" }), 400),
        (json!({ "machines": many, "action": "on" }), 400),
        (json!({ "machines": ["web01"], "action": "reset" }), 400),
        (json!({ "machines": ["web01", "web09"], "action": "on" }), 404),
    ] {
        server.as_operator().post("/v1/power", &body).refused(status);
    }
    assert!(!bench(&server).join("calls").exists(), "a BMC was called");
    let manual = order(&server, &json!({ "machines": ["web01"], "action": "on" }));
    assert_eq!(
        manual[0].error.as_ref().unwrap().trouble,
        Trouble::Manual,
        "nobody has set its power: a person does it"
    );
}
