//! Completions for shells.
//!
//! In: the name of a shell. Out: a script that completes commands and options.
//! Promise: the words are those of the table here, which a test compares with what the commands accept.

use super::{Fault, write};

/// Every command with its options.
pub(super) const WORDS: &[(&str, &[&str])] = &[
    (
        "serve",
        &[
            "--jobs",
            "--jobs-of-group",
            "--jobs-power",
            "--settle",
            "--state",
            "--listen",
            "--url",
            "--boot-listen",
            "--boot-url",
            "--tftp",
            "--power-key",
            "--restore",
            "--log-format",
        ],
    ),
    ("key", &["--state", "--server"]),
    ("token add", &["--scope", "--image", "--expires", "--once"]),
    ("token ls", &[]),
    ("token rm", &[]),
    ("image ls", &[]),
    ("image show", &[]),
    ("image rm", &[]),
    ("image check", &[]),
    ("store check", &[]),
    ("store collect", &[]),
    ("run ls", &[]),
    ("run show", &[]),
    ("boot install", &[]),
    ("boot ls", &[]),
    ("boot rm", &[]),
    ("netboot arm", &["--mode", "--image", "--once", "--for", "--then", "--disk", "--name"]),
    ("netboot ls", &[]),
    ("netboot disarm", &[]),
    (
        "netboot dnsmasq",
        &["--interface", "--boot-url", "--range", "--tftp", "--tftp-root", "--proxy", "--uefi", "--uefi-http"],
    ),
    ("agent ls", &[]),
    ("agent approve", &["--capture", "--restore", "--then", "--disk"]),
    ("pin add", &["--scope", "--images", "--expires"]),
    ("pin ls", &[]),
    ("pin rm", &[]),
    ("power on", &["--network"]),
    ("power off", &["--force-off"]),
    ("power cycle", &["--force-off", "--network"]),
    ("power status", &[]),
    (
        "power set",
        &[
            "--kind",
            "--address",
            "--user",
            "--password-file",
            "--agent",
            "--plug",
            "--option",
            "--min-suite",
            "--system",
            "--mac",
            "--no-probe",
        ],
    ),
    ("power show", &[]),
    ("power probe", &[]),
    ("power attempts", &[]),
    ("power rm", &[]),
    ("machine ls", &["--only", "--tag"]),
    ("machine show", &[]),
    ("machine add", &["--mac", "--uuid", "--tag", "--group", "--protected", "--approve", "--network-first"]),
    ("machine rm", &["--yes"]),
    ("machine accept", &["--name", "--replace"]),
    (
        "machine set",
        &[
            "--tag",
            "--all",
            "--name",
            "--add-mac",
            "--remove-mac",
            "--group",
            "--protected",
            "--approve",
            "--network-first",
            "--health",
            "--note",
            "--identity",
            "--no-identity",
        ],
    ),
    ("machine tag", &["--add", "--remove"]),
    ("machine identity", &[]),
    ("tag ls", &[]),
    ("tag show", &[]),
    ("tag set", &["--identity", "--no-identity"]),
    (
        "rule add",
        &[
            "--when",
            "--subnet",
            "--match",
            "--accept",
            "--tag",
            "--restore",
            "--last",
            "--wipe-existing",
            "--then",
            "--no-identity",
            "--new-uuids",
            "--size",
            "--first-boot",
            "--ignore",
        ],
    ),
    ("rule ls", &[]),
    ("rule rm", &[]),
    ("capture", &["--image", "--hard-off", "--expect", "--tries", "--disk", "--dry-run", "--yes", "--watch"]),
    (
        "restore",
        &[
            "--to",
            "--tag",
            "--last",
            "--force-off",
            "--blank-only",
            "--then",
            "--no-identity",
            "--new-uuids",
            "--size",
            "--layout",
            "--first-boot",
            "--boot-limit",
            "--ignore",
            "--expect",
            "--tries",
            "--disk",
            "--dry-run",
            "--yes",
            "--watch",
        ],
    ),
    (
        "clone",
        &[
            "--to",
            "--tag",
            "--image",
            "--force-off",
            "--hard-off",
            "--blank-only",
            "--then",
            "--no-identity",
            "--new-uuids",
            "--size",
            "--layout",
            "--first-boot",
            "--boot-limit",
            "--ignore",
            "--expect",
            "--tries",
            "--disk",
            "--dry-run",
            "--yes",
            "--watch",
        ],
    ),
    ("inventory", &["--tag", "--force-off", "--expect", "--tries", "--disk", "--dry-run", "--yes", "--watch"]),
    ("job ls", &["--only", "--machine", "--all"]),
    ("job show", &[]),
    ("job watch", &["--timeout"]),
    ("job cancel", &[]),
    ("job retry", &[]),
    ("audit", &["--most", "--before"]),
    ("backup", &[]),
    ("openapi", &[]),
    ("completion", &[]),
];
/// Options of the commands that speak to a server.
pub(super) const REACH: &[&str] = &["--state", "--server", "--token", "--token-file", "--key", "--json"];

/// Whether a command speaks to a server, and takes [`REACH`].
pub(super) fn reaches(command: &str) -> bool {
    !matches!(command, "serve" | "key" | "openapi" | "completion" | "netboot dnsmasq")
}

pub(super) fn print(shell: &str) -> Result<(), Fault> {
    match shell {
        "bash" => write(&bash()),
        "zsh" => write(&format!("#compdef ramet\nautoload -U +X bashcompinit && bashcompinit\n{}", bash())),
        "fish" => write(&fish()),
        other => Err(Fault::Usage(format!("shell {:?} is none of bash, zsh, fish", crate::text::clean(other, 20)))),
    }
}

fn options(command: &str, own: &[&str]) -> String {
    let reach = if reaches(command) { REACH } else { &[] };
    [own, reach, &["--help"]].concat().join(" ")
}

fn firsts() -> Vec<&'static str> {
    let mut firsts: Vec<&str> = WORDS.iter().filter_map(|(command, _)| command.split(' ').next()).collect();
    firsts.dedup();
    firsts
}

fn seconds(first: &str) -> Vec<&'static str> {
    let second = |command: &'static str| command.strip_prefix(first)?.strip_prefix(' ');
    WORDS.iter().filter_map(|(command, _)| second(command)).collect()
}

fn bash() -> String {
    let mut cases = String::new();
    for (command, own) in WORDS {
        cases.push_str(&format!("    \"{command}\"*) words=\"{}\" ;;\n", options(command, own)));
    }
    for first in firsts().into_iter().filter(|first| !seconds(first).is_empty()) {
        cases.push_str(&format!("    \"{first}\"*) words=\"{}\" ;;\n", seconds(first).join(" ")));
    }
    cases.push_str(&format!("    *) words=\"{} --version --help\" ;;\n", firsts().join(" ")));
    format!(
        "_ramet() {{\n  local words line=\"${{COMP_WORDS[*]:1:COMP_CWORD-1}}\"\n  case \"$line\" in\n{cases}  esac\n  \
         case \"${{COMP_WORDS[COMP_CWORD-1]}}\" in --state|--restore|--token-file|--tftp-root|--identity|--layout|install|backup) \
         COMPREPLY=($(compgen -f -- \"${{COMP_WORDS[COMP_CWORD]}}\")); return ;; esac\n  \
         COMPREPLY=($(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\ncomplete -o filenames -F _ramet ramet\n"
    )
}

fn fish() -> String {
    let mut lines = format!("complete -c ramet -f -n __fish_use_subcommand -a '{}'\n", firsts().join(" "));
    for first in firsts().into_iter().filter(|first| !seconds(first).is_empty()) {
        let all = seconds(first).join(" ");
        let unseen = format!("__fish_seen_subcommand_from {first}; and not __fish_seen_subcommand_from {all}");
        lines.push_str(&format!("complete -c ramet -f -n '{unseen}' -a '{all}'\n"));
    }
    for (command, own) in WORDS {
        let seen = command.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}"));
        let seen = seen.collect::<Vec<_>>().join("; and ");
        for option in options(command, own).split(' ') {
            let value = if matches!(option, "--once" | "--proxy" | "--json" | "--help") { "" } else { " -r" };
            lines.push_str(&format!("complete -c ramet -n '{seen}' -l {}{value}\n", &option[2..]));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn completions_name_every_option_of_every_command() {
        for (command, own) in WORDS {
            let words: Vec<String> = command.split(' ').chain(["--help"]).map(str::to_owned).collect();
            let help = parse(&words).unwrap_err().output;
            let mut found: Vec<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
            found.sort_unstable();
            found.dedup();
            let line = options(command, own);
            let mut wanted: Vec<&str> = line.split(' ').collect();
            wanted.sort_unstable();
            let listed: Vec<&str> = found.iter().map(|word| word.trim_end_matches([']', ','])).collect();
            for option in &wanted {
                assert!(listed.contains(option), "{command} does not have {option}");
            }
            for option in listed {
                assert!(wanted.contains(&option), "{command} has {option}");
            }
        }
    }

    #[test]
    fn scripts_name_every_command() {
        for script in [bash(), fish()] {
            for (command, _) in WORDS {
                assert!(command.split(' ').all(|word| script.contains(word)), "{command}");
            }
        }
    }
}
