//! Who the clone on a machine will be: what is declared for its tags and for itself, merged and rendered.
//!
//! In: declarations in TOML, what the inventory knows of the machine. Out: one identity, without templates.
//! Promise: what an agent gets was rendered and checked here; two machines of one plan never get the same name or address.

use crate::db::machines::MachineRow;
use ramet_wire::identity::{Card, Identity, Vars};
use ramet_wire::tags::DECLARED_MAX;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Largest rendered identity as JSON, in bytes: it goes to an agent with its work.
const RENDERED_MAX: usize = 1 << 20;

/// One declaration.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `tag rack7`, `machine web02`.
    pub from: String,
    /// As it was given.
    pub toml: String,
}

/// Reads a declaration; empty is none.
///
/// # Errors
/// What is wrong with it, with its key.
pub fn check(toml: &str) -> Result<(), String> {
    if toml.len() > DECLARED_MAX {
        return Err(format!("identity has {} bytes, {DECLARED_MAX} are allowed", toml.len()));
    }
    if toml.is_empty() { Ok(()) } else { Identity::from_toml(toml).map(drop).map_err(|error| error.to_string()) }
}

/// What templates can name of a machine.
#[must_use]
pub fn vars(machine: &MachineRow) -> Vars {
    Vars {
        name: machine.name.clone(),
        macs: machine.macs.iter().map(ToString::to_string).collect(),
        serial: machine.source.serial.clone().unwrap_or_default(),
        uuid: machine.uuid.clone().unwrap_or_default(),
        tags: machine.tags.iter().map(ToString::to_string).collect(),
        group: machine.group.clone().unwrap_or_default(),
    }
}

/// The layers, the weakest first, merged and rendered; none where there is no layer.
///
/// # Errors
/// Which layer or key is wrong, and why.
pub fn effective(layers: &[Layer], vars: &Vars) -> Result<Option<Identity>, String> {
    let mut merged: Option<Identity> = None;
    for layer in layers {
        let read = Identity::from_toml(&layer.toml).map_err(|error| format!("identity of {}: {error}", layer.from))?;
        merged = Some(match merged {
            Some(under) => read.over(under),
            None => read,
        });
    }
    let Some(merged) = merged else { return Ok(None) };
    let from: Vec<&str> = layers.iter().map(|layer| layer.from.as_str()).collect();
    let rendered = merged.render(vars).map_err(|error| format!("identity of {}: {error}", from.join(", ")))?;
    let size = serde_json::to_vec(&rendered).map_or(usize::MAX, |text| text.len());
    if size > RENDERED_MAX {
        return Err(format!("identity of {}: {size} bytes when rendered, {RENDERED_MAX} are allowed", from.join(", ")));
    }
    Ok(Some(rendered))
}

/// Machines by what only one of them may have.
#[derive(Debug, Default)]
pub struct Claims(HashMap<String, String>);

impl Claims {
    /// Takes the name and the static addresses of an identity for a machine.
    ///
    /// # Errors
    /// Which of them another machine of the plan has taken, and who.
    pub fn take(&mut self, machine: &str, identity: &Identity) -> Result<(), String> {
        let name = identity.hostname.iter().map(|name| format!("host name {}", name.to_ascii_lowercase()));
        let addresses = addresses(identity).into_iter().map(|address| format!("address {address}"));
        for mark in name.chain(addresses) {
            if let Some(other) = self.0.get(&mark).filter(|other| *other != machine) {
                return Err(format!("{machine} and {other} would both have the {mark}"));
            }
            self.0.insert(mark, machine.to_owned());
        }
        Ok(())
    }
}

/// The static addresses of an identity, without their prefix lengths.
fn addresses(identity: &Identity) -> Vec<String> {
    let mut found = Vec::new();
    of_cards(&identity.network, &mut found);
    found
}

fn of_cards(cards: &BTreeMap<String, Card>, found: &mut Vec<String>) {
    for card in cards.values() {
        let address = |text: &String| text.split('/').next()?.parse::<IpAddr>().ok();
        found.extend(card.addresses.iter().flatten().filter_map(address).map(|address| address.to_string()));
        of_cards(&card.vlans, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(from: &str, toml: &str) -> Layer {
        Layer { from: from.to_owned(), toml: toml.to_owned() }
    }

    fn of(name: &str) -> Vars {
        Vars { name: name.to_owned(), ..Vars::default() }
    }

    #[test]
    fn a_machines_own_word_stands_over_its_tags_and_later_tags_over_earlier_ones() {
        let tags = [layer("tag a", "hostname = \"a-{{ name }}\""), layer("tag b", "hostname = \"b-{{ name }}\"")];
        let name = |layers: &[Layer]| effective(layers, &of("web02")).unwrap().unwrap().hostname;
        assert_eq!(name(&tags).as_deref(), Some("b-web02"));
        let all = [&tags[..], &[layer("machine web02", "hostname = \"own\"")]].concat();
        assert_eq!(name(&all).as_deref(), Some("own"));
        assert_eq!(effective(&[], &of("web02")).unwrap(), None);
    }

    #[test]
    fn what_does_not_read_or_render_is_refused_with_its_place_and_key() {
        let refused = effective(&[layer("tag a", "hostnmae = \"x\"")], &of("web02")).unwrap_err();
        assert!(refused.contains("tag a") && refused.contains("hostnmae"), "{refused}");
        let refused = effective(&[layer("tag a", "hostname = \"{{ nmae }}\"")], &of("web02")).unwrap_err();
        assert!(refused.contains("tag a") && refused.contains("hostname"), "{refused}");
        assert!(check("hostnmae = \"x\"").unwrap_err().contains("hostnmae"));
        assert!(check(&" ".repeat(DECLARED_MAX + 1)).unwrap_err().contains("are allowed"));
        check("").unwrap();
    }

    #[test]
    fn two_machines_of_one_plan_never_get_one_name() {
        let mut claims = Claims::default();
        let named = |name: &str| Identity { hostname: Some(name.to_owned()), ..Identity::default() };
        claims.take("web02", &named("www")).unwrap();
        claims.take("web02", &named("www")).unwrap();
        let refused = claims.take("web03", &named("WWW")).unwrap_err();
        assert!(refused.contains("web02") && refused.contains("web03") && refused.contains("www"), "{refused}");
        claims.take("web03", &named("www3")).unwrap();
    }
}
