//! A fleet in tests: machines whose power a test reads and breaks, and agents that behave, or not.

use crate::harness::{Http, Server, open, receipt, upload};
use ramet_server::jobs::hands::{Errand, Hands, HandsError, PowerNow, Warnings};
use ramet_store::testing::TestImage;
use ramet_wire::agents::{DiskSeen, Hello, Orders, Work};
use ramet_wire::api::{Action, OpenRun, RunOpened};
use ramet_wire::hardware::Hardware;
use ramet_wire::jobs::*;
use ramet_wire::machines::*;
use ramet_wire::manifest::Source;
use ramet_wire::settings::{Mac, Mode, Then};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Targets that are on may be switched off.
pub fn forced() -> JobOptions {
    JobOptions { force_off: true, ..JobOptions::default() }
}

/// What a test does to power.
#[derive(Clone, Debug, Default)]
pub struct Switch {
    pub on: bool,
    /// Answers OK and does nothing.
    pub lies: bool,
    /// Orders to switch take as long as somebody wants them.
    pub slow: bool,
    /// Every order ends so.
    pub fails: Option<HandsError>,
    /// What was ordered, in order.
    pub orders: Vec<String>,
}

/// Power systems of machines by number.
#[derive(Clone, Debug, Default)]
pub struct Switches(pub Arc<Mutex<HashMap<i64, Switch>>>);

impl Switches {
    pub fn of<T>(&self, machine: u64, change: impl FnOnce(&mut Switch) -> T) -> T {
        change(self.0.lock().unwrap().entry(i64::try_from(machine).unwrap()).or_default())
    }

    fn order(&self, machine: i64, errand: &Errand, what: &str, on: Option<bool>) -> Result<bool, HandsError> {
        self.0.lock().unwrap().entry(machine).or_default().orders.push(what.to_owned());
        while on.is_some() && self.0.lock().unwrap().get(&machine).is_some_and(|switch| switch.slow) {
            std::thread::sleep(Duration::from_millis(5));
            if errand.is_given_up() {
                self.0.lock().unwrap().entry(machine).or_default().orders.push("given up".to_owned());
                let (message, next) = (format!("{what}: stopped"), String::new());
                return Err(HandsError { cause: Cause::PowerUnable, message, next, again: true });
            }
        }
        let mut all = self.0.lock().unwrap();
        let switch = all.entry(machine).or_default();
        if let Some(error) = &switch.fails {
            return Err(error.clone());
        }
        if let Some(on) = on.filter(|_| !switch.lies) {
            switch.on = on;
        }
        if on.is_some_and(|on| on != switch.on) {
            let (message, next) = (format!("{what}: answered OK, and its state did not change"), String::new());
            return Err(HandsError { cause: Cause::PowerLies, message, next, again: true });
        }
        Ok(switch.on)
    }
}

impl Hands for Switches {
    fn status(&self, machine: i64, errand: &Errand) -> Result<PowerNow, HandsError> {
        self.order(machine, errand, "status", None).map(|on| if on { PowerNow::On } else { PowerNow::Off })
    }

    fn off(&self, machine: i64, errand: &Errand, hard: bool) -> Result<Warnings, HandsError> {
        self.order(machine, errand, if hard { "hard off" } else { "soft off" }, Some(false)).map(|_| Vec::new())
    }

    fn on_from_network(&self, machine: i64, errand: &Errand, uefi: bool) -> Result<Warnings, HandsError> {
        self.order(machine, errand, if uefi { "on, network, uefi" } else { "on, network" }, Some(true))
            .map(|_| Vec::new())
    }
}

pub struct Fleet {
    pub server: Server,
    pub switches: Switches,
}

impl Fleet {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl Fn(&mut ramet_server::Config) + Send + Sync + 'static) -> Self {
        let switches = Switches::default();
        let hands = switches.clone();
        let server = Server::with_boxed(Box::new(move |config| {
            config.hands = Some(Arc::new(hands.clone()));
            config.boot = Some("127.0.0.1:0".parse().unwrap());
            config.limits.job_tick = Duration::from_millis(30);
            config.limits.look_pause = Duration::from_millis(30);
            config.limits.power_spread = Duration::ZERO;
            change(config);
        }));
        Self { server, switches }
    }

    /// An accepted machine with a power system; `number` makes its card, UUID and disk.
    pub fn machine(&self, number: u8) -> u64 {
        let machine = AddMachine {
            name: name(number).parse().unwrap(),
            macs: vec![mac(number)],
            uuid: None,
            tags: vec!["rack".parse().unwrap()],
            group: None,
            protected: false,
            approve: false,
            network_first: false,
        };
        let added: MachineDetail = self.server.as_operator().post("/v1/machines", &machine).json(201);
        let db = rusqlite::Connection::open(self.server.state().join("ramet.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        let sql = "INSERT INTO power_settings (machine_id, kind) VALUES (?1, 'ipmi')";
        db.execute(sql, [i64::try_from(added.machine.id).unwrap()]).unwrap();
        self.switches.of(added.machine.id, |_| {});
        added.machine.id
    }

    pub fn detail(&self, number: u8) -> MachineDetail {
        self.server.as_operator().get(&format!("/v1/machines/{}", name(number))).json(200)
    }

    /// Asks for jobs; their numbers.
    pub fn ask(&self, request: &AddJobs) -> Vec<u64> {
        let plan: Plan = self.server.as_operator().post("/v1/jobs", request).json(201);
        plan.jobs
    }

    pub fn job(&self, id: u64) -> JobDetail {
        self.server.as_operator().get(&format!("/v1/jobs/{id}")).json(200)
    }

    /// Waits until a job is in a state.
    pub fn until(&self, id: u64, state: JobState) -> JobDetail {
        self.until_it(id, &format!("{state}"), |job| job.state == state)
    }

    pub fn until_it(&self, id: u64, what: &str, is: impl Fn(&JobInfo) -> bool) -> JobDetail {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.server.as_operator().get(&format!("/v1/jobs/{id}"));
            if answer.status == 404 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let found: JobDetail = answer.json(200);
            if is(&found.job) {
                return found;
            }
            assert!(Instant::now() < until, "job {id} is not {what}: {found:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn ordered(&self, machine: u64, what: &str, is: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.switches.of(machine, |switch| is(&switch.orders)) {
            assert!(
                Instant::now() < until,
                "no {what}: {:?}",
                self.switches.of(machine, |switch| switch.orders.clone())
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn say(&self, hello: &Hello) -> Orders {
        self.server.as_nobody().post("/v1/agents", hello).json(200)
    }

    /// Opens the run of an order.
    pub fn begin(&self, work: &Work) -> (RunOpened, Http) {
        let body = OpenRun { image: work.image.clone(), ..open(work.action, "x") };
        let opened: RunOpened = self.server.with_secret(&work.token).post("/v1/runs", &body).json(201);
        let http = self.server.with_secret(&opened.session);
        (opened, http)
    }

    /// Does the work of an order and leaves.
    pub fn finish(&self, work: &Work, run: &(RunOpened, Http), image: &TestImage) {
        self.result(work, run, image).done(201);
        run.1.post("/v1/jobs/current/leaving", &leaving(work.then.unwrap_or(Then::Reboot))).done(204);
    }

    pub fn result(&self, work: &Work, run: &(RunOpened, Http), image: &TestImage) -> crate::harness::Answer {
        match work.action {
            Action::Capture => {
                upload(&run.1, image);
                run.1.send("POST", "/v1/images", &[], &image.manifest)
            }
            Action::Restore => {
                let id = run.0.image.as_ref().unwrap().id;
                run.1.post("/v1/receipts", &receipt(&self.server, &run.0.run, image, id))
            }
        }
    }

    /// The boot script of a card, over plain HTTP.
    pub fn boot_file(&self, number: u8) -> String {
        let addr = self.server.running().boot_addr().unwrap();
        let mac = mac(number).to_string().replace(':', "-");
        let mut answer = ureq::get(format!("http://{addr}/mac/{mac}.ipxe")).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }
}

pub fn name(number: u8) -> String {
    format!("web{number:02}")
}

pub fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

pub fn hello(number: u8, nonce: u32) -> Hello {
    let disk = DiskSeen {
        name: "vda".into(),
        size: 1 << 40,
        sector: 512,
        serial: Some(format!("DISK{number}")),
        holds: Some("gpt".into()),
        ..DiskSeen::default()
    };
    let uuid = Some(format!("4c4c4544-0042-3510-8052-0000000000{number:02x}"));
    Hello {
        agent: ramet_server::http::VERSION.to_owned(),
        nonce: format!("{nonce:032x}"),
        mode: Mode::Job,
        machine: Source { uuid, vendor: Some("Dell Inc.".into()), firmware: Some("uefi".into()), ..Source::default() },
        macs: vec![mac(number)],
        disks: vec![disk],
        hardware: Some(Box::new(Hardware { memory: 16 << 30, ..Hardware::default() })),
    }
}

pub fn leaving(then: Then) -> JobLeaving {
    JobLeaving { then, error: None, kind: None }
}

pub fn restore(image: &str, to: &[u8]) -> AddJobs {
    restore_with(image, to, JobOptions::default())
}

pub fn restore_with(image: &str, to: &[u8], options: JobOptions) -> AddJobs {
    let to = to.iter().map(|number| name(*number)).collect();
    AddJobs::Restore { image: Some(image.parse().unwrap()), to, tag: None, options }
}
