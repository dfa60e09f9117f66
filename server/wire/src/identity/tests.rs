//! Declarations that are read, merged, rendered, and refused.

use super::*;

/// What README explains.
const FULL: &str = include_str!("example.toml");

fn vars() -> Vars {
    Vars {
        name: "web02".into(),
        macs: vec!["52:54:00:12:34:56".into()],
        tags: vec!["rack1".into(), "web".into()],
        ..Vars::default()
    }
}

fn render(text: &str) -> Result<Identity, IdentityError> {
    Identity::from_toml(text)?.render(&vars())
}

#[test]
fn every_key_is_read_and_rendered() {
    let identity = render(FULL).unwrap();
    assert_eq!(identity.hostname.as_deref(), Some("web02.example.org"));
    let lan = &identity.network["lan"];
    assert_eq!(lan.mac.as_deref(), Some("52:54:00:12:34:56"));
    assert_eq!(lan.addresses.as_ref().unwrap()[0], "192.0.2.21/24");
    assert_eq!(identity.files["/etc/motd"].content.as_deref(), Some("Welcome to WEB02 (rack1,web)\n"));
    assert_eq!(identity.files["/etc/as-it-is"].content.as_deref(), Some("{{ not a variable }}\n"));
    // What travels to an agent is read there again, by the same rules.
    let json = serde_json::to_string(&identity).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), identity);
    identity.check().unwrap();
}

#[test]
fn refuses_unknown_keys_with_their_place() {
    for text in [
        "host = 1",
        "[network.lan]\nmacs = 1",
        "[users.root]\nkey = 1",
        "[files.\"/a\"]\ntext = 1",
        "[cloud-init]\nx = 1",
    ] {
        let found = Identity::from_toml(text).unwrap_err().to_string();
        assert!(found.contains("unknown field"), "{text}: {found}");
    }
    let large = format!("hostname = \"{}\"", "x".repeat(IDENTITY_MAX));
    assert_eq!(Identity::from_toml(&large), Err(IdentityError::Size(large.len())));
}

#[test]
fn refuses_templates_that_do_not_render() {
    for (template, wanted) in [
        ("{{ nothing }}", "undefined"),
        ("{{ macs[7] }}", "undefined"),
        ("{{ name", "expected"),
        ("{% include '/etc/passwd' %}", "none of the statements"),
        ("{%- set x = 1 %}", "none of the statements"),
        ("{% macro x() %}{% endmacro %}", "none of the statements"),
        ("{% raw %}{{ name }}{% endraw %}", "none of the statements"),
        ("{{ name | replace('a', 'b') }}", "unknown filter"),
        ("{{ range(9) }}", "unknown function"),
        ("{{ name * 100000 }}", "cannot multiply"),
        (
            "{% for a in name %}{% for b in name %}{% for c in name %}{% for d in name %}{% for e in name %}{% for f in name %}x{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
            "fuel",
        ),
    ] {
        let text = format!("[files.\"/x\"]\ntemplate = {}", serde_json::to_string(template).unwrap());
        let found = render(&text).unwrap_err();
        assert!(matches!(&found, IdentityError::Render { key, .. } if key == "files.\"/x\".template"), "{found}");
        assert!(found.to_string().contains(wanted), "{template}: {found}");
    }
}

#[test]
fn refuses_what_grows_beyond_the_limit() {
    let many = Vars { tags: vec!["x".repeat(200_000)], ..vars() };
    let text = "[files.\"/x\"]\ntemplate = \"{{ tags }}{{ tags }}{{ tags }}{{ tags }}{{ tags }}{{ tags }}\"";
    let found = Identity::from_toml(text).unwrap().render(&many).unwrap_err().to_string();
    assert!(found.contains("more than 1048576 bytes") || found.contains("fuel"), "{found}");
    let half = "x".repeat(IDENTITY_MAX / 2);
    let text =
        format!("[files.\"/x\"]\ncontent = \"{half}\"\n[files.\"/y\"]\ntemplate = \"{{{{ name }}}}{}\"", &half[100..]);
    assert!(Identity::from_toml(&text).is_ok());
    let long = Vars { name: "n".repeat(200), ..vars() };
    let found = Identity::from_toml(&text).unwrap().render(&long).unwrap_err().to_string();
    assert!(found.contains("bytes"), "{found}");
}

#[test]
fn refuses_values_out_of_bounds() {
    let card = |keys: &str| format!("[network.lan]\nmac = \"52:54:00:12:34:56\"\n{keys}");
    for (text, key) in [
        ("hostname = \"-web\"".to_owned(), "hostname"),
        ("hostname = \"a b\"".to_owned(), "hostname"),
        ("hostname = \"localhost\"".to_owned(), "hostname"),
        (format!("hostname = \"{}\"", "a".repeat(65)), "hostname"),
        ("hostname = \"web\\n127.0.0.1 bank\"".to_owned(), "hostname"),
        ("[hosts]\nnowhere = [\"a\"]".to_owned(), "hosts"),
        ("[hosts]\n\"192.0.2.1\" = [\"a b\"]".to_owned(), "hosts"),
        ("[hosts]\n\"192.0.2.1\" = []".to_owned(), "hosts"),
        ("[users.\"../x\"]\n".to_owned(), "users"),
        ("[users.root]\nauthorized-keys = [\"hello\"]".to_owned(), "users.root.authorized-keys"),
        (
            "[users.root]\nauthorized-keys = [\"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA\"]".to_owned(),
            "users.root.authorized-keys",
        ),
        ("[network.lan]\ndhcp = \"yes\"".to_owned(), "network.lan.mac"),
        ("[network.eth0]\nmac = \"52:54:00:12:34:56\"".to_owned(), "network.eth0"),
        ("[network.lan]\nmac = \"01:00:5e:00:00:01\"".to_owned(), "network.lan.mac"),
        (format!("{}[network.b]\nmac = \"52-54-00-12-34-56\"", card("")), "network.lan.mac"),
        (card("addresses = [\"192.0.2.1\"]"), "network.lan.addresses"),
        (card("addresses = [\"192.0.2.1/33\"]"), "network.lan.addresses"),
        (card("addresses = [\"192.0.2.1/24\"]\ngateways = [\"198.51.100.1\"]"), "network.lan.gateways"),
        (card("addresses = [\"192.0.2.9/24\"]\ngateways = [\"192.0.2.1\", \"192.0.2.2\"]"), "network.lan.gateways"),
        (card("dhcp = \"no\""), "network.lan"),
        (card("dns = [\"x\"]"), "network.lan.dns"),
        (card("search = [\"a b\"]"), "network.lan.search"),
        (card("mtu = 70000"), "network.lan.mtu"),
        (card("[network.lan.vlans.5000]"), "network.lan.vlans.5000"),
        (card("[network.lan.vlans.7]\nmac = \"52:54:00:12:34:57\""), "network.lan.vlans.7"),
        ("[files.\"etc/x\"]\ncontent = \"\"".to_owned(), "files"),
        ("[files.\"/etc/../x\"]\ncontent = \"\"".to_owned(), "files"),
        ("[files.\"/\"]\nremove = true".to_owned(), "files"),
        ("[files.\"/x\"]".to_owned(), "files"),
        ("[files.\"/x\"]\ncontent = \"\"\nremove = true".to_owned(), "files"),
        ("[files.\"/x\"]\ncontent = \"\"\ntemplate = \"\"".to_owned(), "files"),
        ("[files.\"/x\"]\ncontent = \"\"\nmode = \"999\"".to_owned(), "files.\"/x\".mode"),
        ("[files.\"/x\"]\ncontent = \"\"\nowner = \"root\"".to_owned(), "files.\"/x\".owner"),
    ] {
        match render(&text) {
            Err(IdentityError::Value { key: found, .. }) => {
                assert!(found.starts_with(key) || found == "network.b.mac", "{text}: {found}")
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_machine_says_more_than_its_tag() {
    let tag = Identity::from_toml(
        "hostname = \"tag\"\n[network.lan]\nmac = \"{{ macs[0] }}\"\ngateways = [\"192.0.2.1\"]\ndns = [\"192.0.2.53\"]\n[users.root]\nkeep-keys = true\n[files.\"/a\"]\ncontent = \"tag\"\nmode = \"0600\"\n[files.\"/b\"]\ncontent = \"tag\"\n",
    )
    .unwrap();
    let machine = Identity::from_toml(
        "hostname = \"machine\"\nmachine-id = \"keep\"\n[network.lan]\naddresses = [\"192.0.2.7/24\"]\ndns = []\n[files.\"/a\"]\ncontent = \"own\"\n",
    )
    .unwrap();
    let both = machine.clone().over(tag.clone());
    assert_eq!(both.hostname.as_deref(), Some("machine"));
    assert_eq!(both.machine_id, Some(MachineId::Keep));
    let lan = &both.network["lan"];
    assert_eq!((lan.dns.as_deref(), lan.gateways.is_some(), lan.mac.is_some()), (Some(&[][..]), true, true));
    assert_eq!(both.files["/a"], FileEntry { content: Some("own".into()), ..FileEntry::default() });
    assert!(both.files.contains_key("/b") && both.users["root"].keep_keys == Some(true));
    assert_eq!(Identity::default().over(tag.clone()), tag);
    assert_eq!(tag.clone().over(Identity::default()), tag);
}
