//! `ramet-agent completion`: scripts for shells, made from the command line's own help.
//!
//! In: a shell's name. Out: a script on standard output.
//! Promise: options are taken from `--help`, so that the script cannot lag behind.

use super::args::Args;
use super::{Exit, usage};
use argh::FromArgs;

const COMMANDS: [&str; 6] = ["inspect", "capture", "restore", "menu", "first-boot", "completion"];

pub(super) fn run(shell: &str) -> Exit {
    match script(shell) {
        Some(script) => {
            say!("{}", script.trim_end());
            Exit::Done
        }
        None => usage(&format!("no completion for shell {shell:?}; there is one for bash, zsh and fish")),
    }
}

/// Long options of a command, read from its help text.
fn options(command: &str) -> Vec<String> {
    let help = Args::from_args(&["ramet-agent"], &[command, "--help"]).err().map(|early| early.output);
    let help = help.unwrap_or_default();
    let mut options: Vec<String> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next())
        .map(|name| format!("--{name}"))
        .collect();
    options.dedup();
    options
}

fn script(shell: &str) -> Option<String> {
    use std::fmt::Write as _;
    let mut text = String::new();
    match shell {
        "bash" | "zsh" => {
            if shell == "zsh" {
                text.push_str("autoload -U +X bashcompinit && bashcompinit\n");
            }
            text.push_str("_ramet_agent() {\n  local words\n  case ${COMP_WORDS[1]} in\n");
            for command in COMMANDS {
                let _ = writeln!(text, "    {command}) words=\"{}\" ;;", options(command).join(" "));
            }
            let _ = writeln!(text, "    *) words=\"{}\" ;;\n  esac", COMMANDS.join(" "));
            text.push_str("  [[ $COMP_CWORD == 1 ]] && words=\"");
            text.push_str(&COMMANDS.join(" "));
            text.push_str("\"\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n");
            text.push_str("complete -o default -F _ramet_agent ramet-agent\n");
        }
        "fish" => {
            let _ = writeln!(text, "complete -c ramet-agent -n __fish_use_subcommand -f -a '{}'", COMMANDS.join(" "));
            for command in COMMANDS {
                for option in options(command) {
                    let name = option.trim_start_matches('-');
                    let _ =
                        writeln!(text, "complete -c ramet-agent -n '__fish_seen_subcommand_from {command}' -l {name}");
                }
            }
        }
        _ => return None,
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_every_option_of_restore() {
        let bash = script("bash").unwrap();
        for option in ["--image", "--no-read-back", "--pair", "--dry-run", "--receipt"] {
            assert!(bash.contains(option), "{option}");
        }
        assert!(script("fish").unwrap().contains("-l partition"));
        assert!(script("tcsh").is_none());
    }
}
