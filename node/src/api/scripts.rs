//! Runs the golden scripts in `testscripts/`: what a handler plans, and how each outcome reads.
//!
//! A script is a row of blocks. Above `---` stand directives, below it what came of them:
//!
//! * `at SECONDS` lets cluster time pass;
//! * `ask COMMAND [ARGUMENTS]` prints the plan, applies its command, and prints the reply;
//! * `outcomes COMMAND [ARGUMENTS]` prints the plan and the reply to every outcome that a command of
//!   the API can have, applying nothing;
//! * `no-leader` and `leader` take the leader away and bring it back;
//! * `count STATISTIC NUMBER` lets the node count more of it; `sample` takes samples;
//! * `tells NODE LEVEL` has a node's program know that feature level at most;
//! * `alarm` raises some alarms;
//! * `third-voter` gives the third node a vote;
//! * `restored` makes this a cluster from a backup of itself that is an hour old;
//! * `as-kea` starts the program by Kea's name.
//!
//! With `UPDATE_SCRIPTS=1` in the environment the expectations are written anew; read the diff.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::backend::Backend;
use super::commands::statistics;
use super::registry;
use super::spec::{ApiContext, Args, Caller, Code, Fate, Plan, Print, Refusal, Reply};
use super::testing::Fake;
use crate::config::edit::{Changed, NoEdit};
use crate::state::{Command, ConfigVersion, Outcome};
use crate::types::SubnetId;

#[test]
fn golden_scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/testscripts");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {folder}");
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let played = play(&script);
        if update {
            std::fs::write(&path, played).unwrap();
        } else {
            for (line, (expected, got)) in script.lines().zip(played.lines()).enumerate() {
                assert_eq!(got, expected, "{}:{}", path.display(), line + 1);
            }
            assert_eq!(script, played, "{}", path.display());
        }
    }
}

/// The script with what really happened below each `---`.
fn play(script: &str) -> String {
    let fake = Fake::new();
    let (mut out, mut block, mut expected) = (String::new(), String::new(), false);
    for line in script.lines() {
        match line {
            "" if expected => {
                expected = false;
                out.push('\n');
            }
            "---" => {
                out.push_str("---\n");
                for line in block.lines() {
                    directive(&fake, line, &mut out);
                }
                block.clear();
                expected = true;
            }
            _ if expected => {}
            _ => {
                writeln!(out, "{line}").unwrap();
                if !line.starts_with('#') {
                    writeln!(block, "{line}").unwrap();
                }
            }
        }
    }
    out
}

fn directive(fake: &Arc<Fake>, line: &str, out: &mut String) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "" => {}
        "at" => fake.at(rest.parse().unwrap()),
        "tells" => {
            let (node, level) = rest.split_once(' ').unwrap();
            fake.tells(node.parse().unwrap(), level.parse().unwrap());
        }
        "no-leader" => fake.led.store(false, Ordering::Relaxed),
        "third-voter" => fake.three.store(true, Ordering::Relaxed),
        "restored" => fake.restored(),
        "as-kea" => fake.as_kea.store(true, Ordering::Relaxed),
        "leader" => fake.led.store(true, Ordering::Relaxed),
        "count" => {
            let (name, count) = rest.split_once(' ').unwrap();
            fake.counting.count(name, count.parse().unwrap());
        }
        "alarm" => fake.raise_alarms(),
        "sample" => drop(fake.statistics().sample()),
        "ask" | "outcomes" => {
            let plan = match plan(fake, rest) {
                Ok(plan) => plan,
                Err(refusal) => {
                    return writeln!(out, "refuse {}", Reply::from(refusal).to_json()).unwrap();
                }
            };
            writeln!(out, "{plan:?}").unwrap();
            if let Plan::Statistics(change) = &plan {
                let reply = statistics::carry_out(fake.statistics(), change);
                return writeln!(out, "reply {}", reply.to_json()).unwrap();
            }
            if let Plan::Effect(effect, print) = plan {
                let acted = match verb {
                    "ask" => fake.acted(&effect),
                    _ => Err("the reason".into()),
                };
                writeln!(out, "reply {}", print(acted).to_json()).unwrap();
                return;
            }
            let plan = match plan {
                Plan::CommitEach(commands, print) => {
                    let fates = commands.into_iter().map(|it| Fate::Done(fake.apply(it)));
                    let reply = print(fates.collect());
                    return writeln!(out, "reply {}", reply.to_json()).unwrap();
                }
                plan => plan,
            };
            let Some((commands, print)) = commands(plan) else { return };
            if verb == "ask" {
                let outcomes: Vec<_> = commands.into_iter().map(|it| fake.apply(it)).collect();
                let last = outcomes.last().expect("a plan has a command");
                writeln!(out, "reply {}", print(last).to_json()).unwrap();
                return;
            }
            for outcome in outcomes() {
                let Ok(again) = self::plan(fake, rest) else { return };
                let Some((_, print)) = self::commands(again) else { return };
                writeln!(out, "  {outcome:?}: {}", print(&outcome).to_json()).unwrap();
            }
        }
        other => panic!("no directive {other:?}"),
    }
}

/// What a plan commits, and how the outcome of the last command reads.
fn commands(plan: Plan) -> Option<(Vec<Command>, Print)> {
    match plan {
        Plan::Commit(command, print) | Plan::CommitThen(command, print, _) => {
            Some((vec![*command], print))
        }
        Plan::SetConfig(new, _, print) => {
            let (chunks, set) = new.commands(0);
            let chunks = chunks.into_iter().map(Command::ConfigChunk);
            Some((chunks.chain([Command::SetConfig(set)]).collect(), print))
        }
        Plan::EditConfig(edit, print) => Some((vec![Command::EditConfig(*edit)], print)),
        _ => None,
    }
}

/// What the handler of `COMMAND [ARGUMENTS]` plans, its long part done.
pub(super) fn plan(fake: &Arc<Fake>, request: &str) -> Result<Plan, Refusal> {
    let (name, arguments) = request.split_once(' ').unwrap_or((request, "null"));
    let spec = registry::find(name).unwrap_or_else(|| panic!("no command {name:?}"));
    let arguments: Arc<Value> = Arc::new(serde_json::from_str(arguments).unwrap());
    let report = fake.report();
    let state = fake.state().read();
    let planned = (spec.run)(
        &Args::new(Some(&arguments)),
        &ApiContext {
            view: state.view(),
            node: &report,
            caller: &Caller::anybody("unix"),
            statistics: fake.statistics(),
        },
    )?;
    drop(state);
    match planned {
        Plan::Later(rest) => rest(),
        plan => Ok(plan),
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::LeaseWritten { created: true },
        Outcome::LeaseExists,
        Outcome::NoLease,
        Outcome::NoSubnet(SubnetId(10)),
        Outcome::OutsideSubnet(SubnetId(10)),
        Outcome::Deleted { count: 0 },
        Outcome::Deleted { count: 2 },
        Outcome::ConfigSet(ConfigVersion(3)),
        Outcome::ConfigConflict(ConfigVersion(4)),
        Outcome::ConfigRefused("too new for this node".into()),
        Outcome::ConfigIncomplete,
        Outcome::ConfigEdited {
            version: ConfigVersion(3),
            changed: Changed {
                subnet: Some((SubnetId(10), "192.0.2.0/24".parse().unwrap())),
                name: "floor-a".into(),
            },
        },
        Outcome::ConfigNotEdited(NoEdit::conflict("it is there already")),
        Outcome::Late,
    ]
}

/// Every command with every argument that it or a few others know, of every type: an answer or a
/// refusal, never a panic, and a refusal has a text.
#[test]
fn arguments_of_any_type_are_answered_or_refused() {
    let foreign =
        ["Dhcp4", "comment", "consistency", "document", "from", "ip-address", "subnet-id"];
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "4294967296",
        "18446744073709551615",
        "1.5",
        "\"\"",
        "\"é\"",
        "\"start\"",
        "[]",
        "[[]]",
        "{}",
        "{\"a\":{}}",
        "\"192.0.2.1\"",
        "\"0\"",
    ];
    let fake = Fake::new();
    let base =
        r#""ip-address":"192.0.2.1","hw-address":"02:00:00:00:00:01","from":"start","limit":1"#;
    for spec in registry::COMMANDS {
        for value in values {
            let mut requests = vec![format!("{} {value}", spec.name)];
            let own = spec.arguments.iter().map(|argument| argument.name);
            for name in own.chain(foreign) {
                requests.push(format!("{} {{\"{name}\":{value}}}", spec.name));
                requests.push(format!("{} {{{base},\"{name}\":{value}}}", spec.name));
            }
            for request in requests {
                if let Err(refusal) = plan(&fake, &request) {
                    assert!(!refusal.text.is_empty(), "{request}");
                    assert_ne!(refusal.code, Code::Success, "{request}");
                }
            }
        }
    }
}
