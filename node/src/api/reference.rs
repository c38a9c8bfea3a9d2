//! The registry against the list of Kea's own commands, and the reference page made from it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::backend::Backend;
use super::registry::{self, COMMANDS};
use super::scripts;
use super::spec::{Access, Code, Freshness, Kind, Need, Origin, Plan, Spec};
use super::testing::Fake;
use crate::config::edit::NoEditKind;
use crate::state::document;

/// One command of Kea a line.
const KEA: &str = include_str!("kea-commands");
/// Arguments of each command.
const EXAMPLES: &str = include_str!("examples");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/commands.md");

/// A line of the list.
struct Line {
    origin: &'static str,
    access: Access,
    name: &'static str,
    /// Why it is not here.
    left_out: Option<&'static str>,
}

fn kea() -> impl Iterator<Item = Line> {
    KEA.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (command, left_out) = match line.split_once(": ") {
            Some((command, why)) => (command, Some(why)),
            None => (line, None),
        };
        let [origin, access, name] = command.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let access = match access {
            "read" => Access::Read,
            "write" => Access::Write,
            _ => panic!("{line}"),
        };
        Line { origin, access, name, left_out }
    })
}

fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Daemon => "daemon",
        Origin::LeaseCmds => "lease_cmds",
        Origin::StatCmds => "stat_cmds",
        Origin::SubnetCmds => "subnet_cmds",
        Origin::HostCmds => "host_cmds",
        Origin::ClassCmds => "class_cmds",
        Origin::HighAvailability => "high_availability",
        Origin::Leasehold => "leasehold",
    }
}

/// kea-api §1.9, §2: names, hooks and access classes are Kea's; what is left out has a reason.
#[test]
fn every_command_of_kea_is_here_or_left_out_for_a_reason() {
    let ours: BTreeMap<&str, &Spec> = COMMANDS.iter().map(|spec| (spec.name, spec)).collect();
    let mut wrong = Vec::new();
    for line in kea() {
        match (ours.get(line.name), line.left_out) {
            (None, None) => wrong.push(format!("{} is missing", line.name)),
            (Some(_), Some(_)) => wrong.push(format!("{} is listed as left out", line.name)),
            (Some(spec), None) if spec.access != line.access => {
                wrong.push(format!("{} is {:?} in Kea", line.name, line.access));
            }
            (Some(spec), None) if origin_name(spec.origin) != line.origin => {
                wrong.push(format!("{} is of {} in Kea", line.name, line.origin));
            }
            _ => {}
        }
    }
    let listed: Vec<&str> = kea().map(|line| line.name).collect();
    for spec in COMMANDS {
        if listed.contains(&spec.name) == (spec.origin == Origin::Leasehold) {
            wrong.push(format!("{} is said to be of {:?}", spec.name, spec.origin));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(listed.len(), 135);
}

#[test]
fn every_command_says_what_it_does_and_takes() {
    for spec in COMMANDS {
        assert!(spec.about.ends_with('.'), "{} says nothing of itself", spec.name);
        for (at, argument) in spec.arguments.iter().enumerate() {
            assert!(argument.about.ends_with('.'), "{} {}", spec.name, argument.name);
            let twice = spec.arguments[..at].iter().any(|other| other.name == argument.name);
            assert!(!twice, "{} names {} twice", spec.name, argument.name);
        }
    }
}

/// The lines of the examples: command and arguments.
fn examples() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = EXAMPLES.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}")))
}

#[test]
fn every_argument_has_an_example_and_every_example_is_of_a_command() {
    let mut wrong = Vec::new();
    for (name, text) in examples() {
        let arguments: Value = serde_json::from_str(text).unwrap();
        match registry::find(name) {
            None => wrong.push(format!("{name} is no command")),
            Some(spec) => wrong.extend(
                arguments
                    .as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| !spec.arguments.iter().any(|argument| argument.name == *key))
                    .map(|key| format!("{name} does not take {key}")),
            ),
        }
    }
    for spec in COMMANDS {
        for argument in spec.arguments {
            let key = format!("\"{}\":", argument.name);
            if !examples().any(|(_, text)| text.contains(&key)) {
                wrong.push(format!("{} has no example with {}", spec.name, argument.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each argument of each command with every value of a wrong type, among arguments that are right,
/// and each that is needed gone: a refusal with a text, result 1.
#[test]
fn arguments_of_a_wrong_type_are_refused_by_every_command() {
    let fake = Fake::new();
    let mut wrong = Vec::new();
    for spec in COMMANDS {
        let of_it = || examples().filter(|(name, _)| *name == spec.name).map(|(_, text)| text);
        for argument in spec.arguments {
            let key = format!("\"{}\":", argument.name);
            let text = of_it().find(|text| text.contains(&key)).or_else(|| of_it().next());
            let example: Value = serde_json::from_str(text.unwrap_or("{}")).unwrap();
            let mut changed: Vec<Value> = not(argument.kind)
                .into_iter()
                .map(|value| {
                    let mut changed = example.clone();
                    changed[argument.name] = value;
                    changed
                })
                .collect();
            if argument.need == Need::Needed {
                let mut without = example.clone();
                without.as_object_mut().unwrap().swap_remove(argument.name);
                changed.push(without);
            }
            for arguments in changed {
                let request = format!("{} {arguments}", spec.name);
                match refusal(&fake, &request) {
                    Err((Code::Error, text)) if !text.is_empty() => {}
                    other => wrong.push(format!("{request}: {other:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// How a request is refused; what is planned if it is not. A change of the configuration is judged by
/// what it would come to.
fn refusal(fake: &Arc<Fake>, request: &str) -> Result<String, (Code, String)> {
    let plan = scripts::plan(fake, request).map_err(|refusal| (refusal.code, refusal.text))?;
    if let Plan::EditConfig(command, _) = &plan {
        let config = fake.state().read().view().config().cloned().unwrap();
        if let Err(no) = document::edit(&config, &command.edit) {
            let code = match no.kind {
                NoEditKind::Error => Code::Error,
                NoEditKind::Empty => Code::Empty,
                NoEditKind::Conflict => Code::Conflict,
            };
            return Err((code, no.text));
        }
    }
    Ok(format!("{plan:?}"))
}

/// Values that are not of the kind.
fn not(kind: Kind) -> Vec<Value> {
    let fits = |value: &Value| match kind {
        Kind::Text => value.is_string(),
        Kind::Integer => value.is_i64(),
        Kind::Boolean => value.is_boolean(),
        Kind::Map => value.is_object(),
        Kind::List => value.is_array(),
        Kind::TextOrInteger => value.is_string() || value.is_i64(),
    };
    let all = [json!("\u{0}é"), json!(7), json!(1.5), json!(true), json!({"a": {}}), json!([[]])];
    all.into_iter().filter(|value| !fits(value)).collect()
}

/// The page is written anew with `UPDATE=1` in the environment.
#[test]
fn the_reference_page_is_that_of_the_registry() {
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(PAGE).parent().unwrap()).unwrap();
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page, "docs/reference/commands.md is old: run this test with UPDATE=1");
}

const HEAD: &str = "\
# Commands of the control API

Made from the registry of the server; do not edit. A request is `POST /` with
`{\"command\": …, \"service\": [\"dhcp4\"], \"arguments\": {…}}`, or the same object on the unix socket; answers and
result codes are those of Kea 3 (0 done, 1 error, 2 unknown command, 3 nothing found, 4 conflict).

Every node answers every command. What a *write* changes is in force on all nodes when its answer comes; an
answer that cannot say what became of it says so. A *read* shows everything that was acknowledged anywhere before
it came; with `\"consistency\": \"local\"` among its arguments it shows what this node has, also without a leader.
Commands *about this node* need no leader.

| Section | Kea's hook |
|---|---|
";

/// The sections of the page, in its order.
const SECTIONS: &[(Origin, &str, &str)] = &[
    (Origin::Daemon, "The server", "none, they are of the daemon"),
    (Origin::LeaseCmds, "Leases", "`lease_cmds`"),
    (Origin::StatCmds, "Lease counts", "`stat_cmds`"),
    (Origin::SubnetCmds, "Subnets and shared networks", "`subnet_cmds`"),
    (Origin::HostCmds, "Reservations", "`host_cmds`"),
    (Origin::ClassCmds, "Client classes", "`class_cmds`"),
    (Origin::HighAvailability, "High availability", "`high_availability`"),
    (Origin::Leasehold, "Only in Leasehold", "none, Kea has nothing like them"),
];

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (_, title, hook) in SECTIONS {
        writeln!(page, "| {title} | {hook} |").unwrap();
    }
    for (origin, title, _) in SECTIONS {
        writeln!(page, "\n## {title}").unwrap();
        for spec in COMMANDS.iter().filter(|spec| spec.origin == *origin) {
            command(spec, &mut page);
        }
    }
    page.push_str("\n## Commands of Kea that are not here\n\n| Command | Why |\n|---|---|\n");
    for line in kea() {
        if let Some(why) = line.left_out {
            writeln!(page, "| {} | {why} |", line.name).unwrap();
        }
    }
    page.push_str(
        "| remote-* (74) | they change a configuration database; here the configuration is replicated |\n\
         | gss-tsig-* (10) | they belong to the DNS daemon |\n",
    );
    page
}

fn command(spec: &Spec, page: &mut String) {
    let access = match spec.access {
        Access::Read => "read",
        Access::Write => "write",
    };
    let place = if spec.view == Freshness::Local { ", about this node" } else { "" };
    writeln!(page, "\n### {}\n\n{} *({access}{place})*", spec.name, spec.about).unwrap();
    if spec.arguments.is_empty() {
        return;
    }
    page.push_str("\n| Argument | Type | | Meaning |\n|---|---|---|---|\n");
    for argument in spec.arguments {
        let kind = match argument.kind {
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Map => "map",
            Kind::List => "list",
            Kind::TextOrInteger => "string or integer",
        };
        let need = match argument.need {
            Need::Needed => "needed",
            Need::Optional => "",
            Need::Either => "or another",
        };
        writeln!(page, "| {} | {kind} | {need} | {} |", argument.name, argument.about).unwrap();
    }
    for (_, text) in examples().filter(|(name, _)| *name == spec.name) {
        let arguments = format!("\"arguments\": {text}");
        writeln!(page, "\n```json\n{{\"command\": \"{}\", {arguments}}}\n```", spec.name).unwrap();
    }
}
