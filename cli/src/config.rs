//! `config.toml` in a home: every flag's long name as a key, below what flags and variables say.
//!
//! A flag that has the variable `COUNTERFOIL_NODE_LISTEN` has the key `node_listen`. A key that no flag has is refused.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{ArgAction, Command, CommandFactory};

use crate::args::Cli;
use crate::exit::Failure;

const PREFIX: &str = "COUNTERFOIL_";

/// The program's commands with the file's values as defaults.
pub(crate) fn command(home: Option<&Path>) -> Result<Command, Failure> {
    let command = Cli::command();
    let Some(home) = home else { return Ok(command) };
    let path = home.join("config.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(command),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(Failure::wrong_use(format!(
                "{} is not a folder; choose another with --home",
                home.display()
            )));
        }
        Err(e) => return Err(Failure::store(anyhow::anyhow!("cannot read {}: {e}", path.display()))),
    };
    let values = parse(&text).map_err(|e| Failure::wrong_use(format!("{}: {e}", path.display())))?;
    let known = keys(&command);
    if let Some(unknown) = values.keys().find(|k| !known.contains(k)) {
        return Err(Failure::wrong_use(format!(
            "{}: there is no setting {unknown:?}; the settings are {}",
            path.display(),
            known.join(", ")
        )));
    }
    check_lists(&command, &values).map_err(|e| Failure::wrong_use(format!("{}: {e}", path.display())))?;
    check_switches(&command, &values).map_err(|e| Failure::wrong_use(format!("{}: {e}", path.display())))?;
    Ok(with_defaults(command, &values))
}

/// Only a flag that may be given several times has a list.
fn check_lists(command: &Command, values: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let single = command.get_arguments().filter(|a| !matches!(a.get_action(), ArgAction::Append));
    let single: Vec<String> = single.filter_map(key_of).collect();
    let several: Vec<String> = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .filter(|a| matches!(a.get_action(), ArgAction::Append))
        .filter_map(key_of)
        .collect();
    match values.iter().find(|(key, value)| {
        let one_only = single.contains(key) || !several.contains(key);
        one_only && value.len() != 1
    }) {
        Some((key, _)) => Err(format!("the setting {key:?} is one value, not a list")),
        None => Ok(()),
    }
}

/// A switch is on or off; any other value would pass for off.
fn check_switches(command: &Command, values: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    for arg in command.get_arguments().filter(|a| !a.get_action().takes_values()) {
        let key = key_of(arg);
        if let Some((key, value)) = key.as_ref().and_then(|k| values.get_key_value(k))
            && !matches!(value.as_slice(), [one] if matches!(one.as_str(), "true" | "false"))
        {
            return Err(format!("the setting {key:?} is {:?}; it is true or false", value.join(", ")));
        }
    }
    command.get_subcommands().try_for_each(|sub| check_switches(sub, values))
}

fn parse(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    table
        .into_iter()
        .map(|(key, value)| {
            let values = match value {
                toml::Value::Array(list) => list.iter().map(single).collect(),
                one => single(&one).map(|one| vec![one]),
            };
            let values: Option<Vec<String>> = values;
            let values = values.ok_or_else(|| {
                format!("the setting {key:?} must be a text, a number, true or false, or a list of such")
            })?;
            Ok((key, values))
        })
        .collect()
}

fn single(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(i) => Some(i.to_string()),
        toml::Value::Float(f) => Some(f.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

fn key_of(arg: &clap::Arg) -> Option<String> {
    let name = arg.get_env()?.to_str()?.strip_prefix(PREFIX)?;
    Some(name.to_lowercase())
}

fn keys(command: &Command) -> Vec<String> {
    let mut out: Vec<String> = command.get_arguments().filter_map(key_of).filter(|k| k != "home").collect();
    for sub in command.get_subcommands() {
        out.extend(keys(sub));
    }
    out.sort_unstable();
    out.dedup();
    out
}

fn with_defaults(command: Command, values: &BTreeMap<String, Vec<String>>) -> Command {
    command
        .mut_args(|arg| match key_of(&arg).and_then(|k| values.get(&k)) {
            Some(values) if matches!(arg.get_action(), ArgAction::Append) => {
                arg.default_values(values.iter().cloned())
            }
            // A flag that other commands repeat takes the first.
            Some(values) if arg.get_action().takes_values() => match values.first() {
                Some(value) => arg.default_value(value.clone()),
                None => arg,
            },
            // A switch has no default to set; it is on where its variable or this file says so.
            Some(values) if values.iter().any(|v| v == "true") => arg.default_value("true"),
            _ => arg,
        })
        .mut_subcommands(|sub| with_defaults(sub, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.toml"), text).unwrap();
        home
    }

    #[test]
    fn a_setting_is_a_default_and_a_flag_wins() {
        let home = write("nodes = 3\nlisten = \"127.0.0.1:9\"\n");
        let command = command(Some(home.path())).unwrap();
        let nodes = |line: &[&str]| {
            let matches = command.clone().try_get_matches_from(line).unwrap();
            *matches.subcommand_matches("run").unwrap().get_one::<u32>("nodes").unwrap()
        };
        assert_eq!(nodes(&["counterfoil", "run"]), 3);
        assert_eq!(nodes(&["counterfoil", "run", "--nodes", "4"]), 4);
    }

    #[test]
    fn only_a_flag_that_repeats_has_a_list() {
        let home = write("model = [\"a\", \"b\"]\n");
        let matches =
            command(Some(home.path())).unwrap().try_get_matches_from(["counterfoil", "router"]).unwrap();
        let router = matches.subcommand_matches("router").unwrap();
        let models: Vec<_> = router.get_many::<std::path::PathBuf>("model").unwrap().collect();
        assert_eq!(models, [Path::new("a"), Path::new("b")]);
        let e = command(Some(write("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n").path())).unwrap_err();
        assert!(e.to_string().contains("the setting \"listen\" is one value"), "{e}");
    }

    #[test]
    fn a_switch_is_true_or_false() {
        let home = write("no_browser = \"maybe\"\n");
        let e = command(Some(home.path())).unwrap_err();
        assert_eq!(e.code(), 2);
        assert!(e.to_string().contains("\"no_browser\" is \"maybe\""), "{e}");
        assert!(command(Some(write("no_browser = true\n").path())).is_ok());
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let home = write("nodess = 3\n");
        let e = command(Some(home.path())).unwrap_err();
        assert_eq!(e.code(), 2);
        assert!(e.to_string().contains("there is no setting \"nodess\""), "{e}");
    }
}
