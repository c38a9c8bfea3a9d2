//! What is in `deploy/` and has no test of its own: settings and configurations are read by the program's parsers, containers are
//! built and run as the compose file says, manifests are held against Kubernetes' schemas. And no file there is without a test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::floor::netns::machine;
use chaos_tests::floor::netns::process::Process;
use chaos_tests::floor::netns::topology::{Namespace, Nic, Switch};
use chaos_tests::{clock, gate, shell};
use leasehold::settings::{Settings, read_kea_file};
use serde_json::Value;

/// Which test exercises what in `deploy/`: a file, or a directory with all that is in it. A row may come before both of what it
/// names.
const EXERCISED: &[(&str, &str)] = &[
    ("README.md", "chaos-tests/tests/docs.rs"),
    ("container", "chaos-tests/tests/deploy.rs"),
    ("debian", "chaos-tests/tests/package.rs"),
    ("grafana", "node/tests/observation.rs"),
    ("kea-dhcp4.service", "chaos-tests/tests/package.rs"),
    ("kubernetes", "chaos-tests/tests/deploy.rs"),
    ("leasehold.service", "chaos-tests/tests/package.rs"),
    ("node.toml", "chaos-tests/tests/deploy.rs"),
    ("prometheus", "node/tests/observation.rs"),
    ("samples", "chaos-tests/tests/kea_examples.rs"),
    ("three-racks", "chaos-tests/tests/three_racks.rs"),
];

/// What a file says in its first lines that no test exercises.
const ADMISSION: &str = "not exercised";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below `directory`.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn with_ending(ending: &str) -> Result<Vec<PathBuf>> {
    let mut all = files(&top().join("deploy"))?;
    all.retain(|path| path.extension().is_some_and(|it| it == ending));
    Ok(all)
}

#[test]
fn every_file_of_deploy_is_exercised_or_says_that_it_is_not() -> Result<()> {
    let deploy = top().join("deploy");
    let mut complaints = Vec::new();
    for (what, test) in EXERCISED {
        for path in [deploy.join(what), top().join(test)] {
            if !path.exists() {
                complaints.push(format!("the table names {}, which is not there", path.display()));
            }
        }
    }
    for path in files(&deploy)? {
        let name = path.strip_prefix(&deploy)?;
        let start: String = std::fs::read_to_string(&path)?
            .lines()
            .take(10)
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        let listed = EXERCISED.iter().any(|(what, _)| name.starts_with(what));
        if !listed && !start.contains(ADMISSION) {
            complaints.push(format!(
                "deploy/{}: no test is named for it, and it does not say so",
                name.display()
            ));
        }
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// What a sample offers in its comments in place of what is in force: section, what goes, what comes instead.
const INSTEAD: &[(&str, &[&str], &[&str])] = &[
    ("peer", &["insecure"], &["trust-anchor", "cert-file", "key-file"]),
    ("control.users", &["password-file"], &["password"]),
    ("cluster", &["initial", "config"], &["join", "token-file", "learner"]),
];

#[test]
fn settings_and_configurations_are_accepted_by_the_program() -> Result<()> {
    for path in with_ending("toml")? {
        let text = std::fs::read_to_string(&path)?;
        Settings::parse(&text, &path.display().to_string(), "host")?;
        // What is offered in comments must be accepted too, and what is offered instead.
        for instead in [false, true] {
            let all = lines(&text);
            let has = |section: &str, keys: &[&str]| {
                let mut in_section = all.iter().filter(|line| line.section == section);
                in_section.any(|line| line.key.is_some_and(|key| keys.contains(&key)))
            };
            let left_out = |line: &Line<'_>| {
                INSTEAD.iter().any(|(section, goes, comes)| {
                    let both =
                        line.section == *section && has(section, goes) && has(section, comes);
                    let out = if instead { goes } else { comes };
                    both && line.key.is_some_and(|key| out.contains(&key))
                })
            };
            let offered = all
                .iter()
                .filter(|line| !left_out(line))
                .map(|line| line.bare)
                .collect::<Vec<_>>()
                .join("\n");
            Settings::parse(&offered, &path.display().to_string(), "host")
                .with_context(|| format!("with its comments taken for settings:\n{offered}"))?;
        }
    }
    for path in with_ending("conf")? {
        read_kea_file(&path)
            .map_err(|mistakes| anyhow::anyhow!("{}: {mistakes}", path.display()))?;
    }
    Ok(())
}

#[test]
fn every_setting_stands_in_the_sample() -> Result<()> {
    let sample = std::fs::read_to_string(top().join("deploy/node.toml"))?;
    let there: BTreeSet<(String, String)> = lines(&sample)
        .into_iter()
        .filter_map(|line| Some((line.section.clone(), line.key?.to_owned())))
        .collect();
    let mut all = Vec::new();
    settings_of(&[], &mut all)?;
    ensure!(all.len() > 30, "the parser told of these alone: {all:?}");
    let missing: Vec<String> = all
        .iter()
        .filter(|setting| !there.contains(*setting))
        .map(|(section, key)| format!("[{section}] {key}"))
        .collect();
    ensure!(missing.is_empty(), "deploy/node.toml does not tell of: {}", missing.join(", "));
    let gone: Vec<_> = there.iter().filter(|setting| !all.contains(setting)).collect();
    ensure!(gone.is_empty(), "deploy/node.toml tells of what is no setting: {gone:?}");
    Ok(())
}

/// Every setting below the section that these headers lead to, as (section, key): from the parser itself, which names all keys of a
/// section when it meets one that it does not know.
fn settings_of(headers: &[String], all: &mut Vec<(String, String)>) -> Result<()> {
    const STRANGE: &str = "unknown field `no-such-key`";
    let refusal = |headers: &[String]| {
        let text = format!("{}\nno-such-key = 1\n", headers.join("\n"));
        Settings::parse(&text, "node.toml", "host").err().map_or(String::new(), |it| it.to_string())
    };
    let refused = refusal(headers);
    let (_, known) = refused
        .split_once(STRANGE)
        .with_context(|| format!("{headers:?} is no section: {refused}"))?;
    let section = headers.last().map_or("", |header| header.trim_matches(['[', ']']));
    for key in known.split('`').skip(1).step_by(2) {
        let name =
            [section, key].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        let forms = [format!("[{}]", name.join(".")), format!("[[{}]]", name.join("."))];
        let below = forms
            .into_iter()
            .map(|header| [headers, &[header]].concat())
            .find(|headers| refusal(headers).contains(STRANGE));
        match below {
            // A list of short tables is written in line.
            Some(headers) if headers.len() <= 2 => settings_of(&headers, all)?,
            _ => all.push((section.to_owned(), key.to_owned())),
        }
    }
    Ok(())
}

/// A line of settings, in force or offered in a comment.
struct Line<'a> {
    /// The section that it is in, without brackets.
    section: String,
    /// What it sets, if it sets something.
    key: Option<&'a str>,
    /// It, in force.
    bare: &'a str,
}

/// What a line sets.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    (is_key && !key.is_empty()).then_some(key)
}

/// The lines of `text`, with what its comments offer: lines like `# key = value` and `# [section]`. Of a key that is in force
/// in its section its offers are left out.
fn lines(text: &str) -> Vec<Line<'_>> {
    let (mut section, mut number, mut found) = (String::new(), 0, Vec::new());
    let mut in_force = BTreeSet::new();
    for line in text.lines() {
        let rest = line.strip_prefix("# ").unwrap_or(line);
        let header = rest.starts_with('[').then(|| rest.split(']').next()).flatten();
        if let Some(header) = header.filter(|_| rest.contains(']')) {
            section = header.trim_start_matches('[').to_owned();
            number += 1;
        }
        let offered = key_of(rest).is_some() || header.is_some();
        let bare = if offered { rest } else { line };
        if let (Some(key), false) = (key_of(line), line.starts_with('#')) {
            in_force.insert((number, key));
        }
        found.push((
            number,
            bare != line,
            Line { section: section.clone(), key: key_of(bare), bare },
        ));
    }
    let in_force =
        |number, key: Option<&str>| key.is_some_and(|key| in_force.contains(&(number, key)));
    found
        .into_iter()
        .filter(|(number, offered, line)| !(*offered && in_force(*number, line.key)))
        .map(|(_, _, line)| line)
        .collect()
}

/// The documents of a YAML file, as Python reads them.
fn yaml(path: &Path) -> Result<Vec<Value>> {
    let read = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let text = shell::run(python().args(["-c", read]).arg(path))?;
    Ok(serde_json::from_str(&text)?)
}

/// Debian's Python, with what `KUBERNETES_VALIDATE` has.
fn python() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", std::env::var_os("KUBERNETES_VALIDATE").unwrap_or_default());
    command
}

/// Why the tests that read YAML cannot run here.
fn no_yaml() -> Option<String> {
    let found = shell::run_any(python().args(["-c", "import yaml"]), 10_000);
    let works = found.is_ok_and(|outcome| outcome.code == Some(0));
    (!works).then(|| "Python's yaml is not there (python3-yaml)".to_owned())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("{pointer} of {value}"))
}

#[test]
fn containers_are_built_and_serve_a_lease_as_the_compose_file_says() -> Result<()> {
    let test = "containers_are_built_and_serve_a_lease_as_the_compose_file_says";
    if let Some(reason) = no_yaml() {
        gate::skip(test, &reason);
        return Ok(());
    }
    let Some(_gate) = gate::enter(test, &["buildah", "udhcpc", "ldd", "curl"])? else {
        return Ok(());
    };
    let directory = top().join("deploy/container");
    let compose = yaml(&directory.join("compose.yaml"))?.remove(0);
    let mut lab = WorkDir::create(test)?;
    let engine = Engine { storage: lab.path().join("storage") };
    engine.build(&directory.join("Containerfile"), lab.path())?;

    let prefix = text(&compose, "/networks/lan/ipam/config/0/subnet")?;
    ensure!(prefix == "172.30.77.0/24", "{prefix}");
    let lan = Switch::create("lan")?;
    let mut running = Vec::new();
    let services = compose["services"].as_object().context("services")?;
    ensure!(services.len() == 3, "{services:?}");
    for (name, service) in services {
        ensure!(
            text(service, "/stop_grace_period")? == "15s",
            "{name} is killed while it hands over"
        );
        let address = text(service, "/networks/lan/ipv4_address")?;
        let network = Namespace::create(name)?;
        lan.plug(&network, "eth0", name, Nic { mac: None, address: Some((address.parse()?, 24)) })?;
        let process = engine.start(name, service, &directory, &network, lab.path())?;
        running.push((network, process));
    }
    for (network, process) in &mut running {
        let ready = "curl -sf -m 2 http://127.0.0.1:8000/health/ready";
        clock::wait_for_every(200, "a container to be ready", 30_000, || {
            shell::run(network.command("bash").args(["-c", ready])).ok()
        })
        .with_context(|| process.tail())?;
    }
    let client = Namespace::create("client")?;
    lan.plug(&client, "eth0", "client", Nic::default())?;
    let got = machine::lease(&client)?;
    ensure!(got.address.starts_with("172.30.77.1") && got.seconds == 3600, "{got:?}");
    // The health check of the file, where it is made.
    let check = &compose["x-node"]["healthcheck"]["test"];
    ensure!(*check == serde_json::json!(["CMD", "cluster-ctl", "status"]), "{check}");
    let ctl = gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?;
    let status = shell::run(running[0].0.command(ctl).arg("status"))?;
    ensure!(status.contains("3 nodes, leader"), "{status}");
    drop(running);
    lab.passed();
    Ok(())
}

/// buildah, with a store of its own in the directory of the test.
struct Engine {
    storage: PathBuf,
}

impl Engine {
    fn flags(&self) -> Vec<String> {
        let storage = self.storage.display();
        [
            "--root",
            &format!("{storage}/root"),
            "--runroot",
            &format!("{storage}/run"),
            "--storage-driver",
            "vfs",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        shell::run(Command::new("buildah").args(self.flags()).args(args))
    }

    /// Builds the last stage of the file, as it stands: the programs that its first stage would build come from here, and the base
    /// image is their libraries.
    fn build(&self, file: &Path, lab: &Path) -> Result<()> {
        let (base, out) = (lab.join("base"), lab.join("context/out"));
        std::fs::create_dir_all(&base)?;
        std::fs::create_dir_all(&out)?;
        for (name, variable) in [("leasehold", "LEASEHOLD_BIN"), ("cluster-ctl", "CLUSTER_CTL_BIN")]
        {
            let program = gate::binary(name, variable)?;
            shell::run(Command::new("strip").arg("-o").arg(out.join(name)).arg(&program))?;
            let needed = shell::run(Command::new("ldd").arg(&program))?;
            for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
                shell::run(Command::new("cp").args(["-L", "--parents", library]).arg(&base))?;
            }
        }
        let (_, last) = std::fs::read_to_string(file)?
            .rsplit_once("\nFROM ")
            .map(|(first, last)| (first.to_owned(), format!("FROM {last}")))
            .context("two stages")?;
        let image = last
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("FROM "))
            .context("a base image")?;
        let scratch = self.run(&["from", "scratch"])?;
        self.run(&["copy", "-q", scratch.trim(), &base.display().to_string(), "/"])?;
        self.run(&["commit", "-q", scratch.trim(), image])?;
        let stage = last.replace(
            "--from=build /out/leasehold /out/cluster-ctl",
            "out/leasehold out/cluster-ctl",
        );
        ensure!(stage != last, "the last stage does not copy the programs of the first:\n{last}");
        let context = lab.join("context");
        std::fs::write(context.join("Containerfile"), stage)?;
        let context = context.display().to_string();
        self.run(&[
            "bud",
            "--pull-never",
            "-f",
            &format!("{context}/Containerfile"),
            "-t",
            "leasehold",
            &context,
        ])?;
        Ok(())
    }

    /// Starts the container of `service` in `network`, with its files, volumes and capabilities, and the image's own command.
    fn start(
        &self,
        name: &str,
        service: &Value,
        from: &Path,
        network: &Namespace,
        lab: &Path,
    ) -> Result<Process> {
        let mut create = vec!["from".to_owned(), "--pull-never".to_owned()];
        for (key, flag) in [("cap_drop", "--cap-drop"), ("cap_add", "--cap-add")] {
            for capability in
                service[key].as_array().into_iter().flatten().filter_map(Value::as_str)
            {
                create.extend([flag.to_owned(), capability.to_owned()]);
            }
        }
        create.extend(["--name".to_owned(), name.to_owned(), text(service, "/image")?.to_owned()]);
        self.run(&create.iter().map(String::as_str).collect::<Vec<_>>())?;
        let inspected: Value = serde_json::from_str(&self.run(&["inspect", name])?)?;
        let config = &inspected["OCIv1"]["config"];
        let words = ["Entrypoint", "Cmd"]
            .map(|part| config[part].as_array().cloned().unwrap_or_default())
            .concat();

        let mut command = network.command("buildah");
        command.args(self.flags()).args(["run", "--isolation", "chroot", "--network", "host"]);
        for volume in service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            // `./FILE:PATH:ro`, or `NAME:PATH`.
            let (source, rest) = volume.split_once(':').context("a volume")?;
            let source = match source.strip_prefix("./") {
                Some(file) => from.join(file).canonicalize()?,
                None => lab.join(source),
            };
            if !source.exists() {
                std::fs::create_dir_all(&source)?;
            }
            command.arg("--volume").arg(format!("{}:{rest}", source.display()));
        }
        command.arg(name).arg("--").args(words.iter().filter_map(Value::as_str));
        let log = lab.join(format!("{name}.log"));
        for _ in 0..10 {
            let mut process = Process::start(&mut command, &log)?;
            // buildah runs a copy of itself from a sealed file in memory, and the kernel refuses to seal one (EBUSY) while
            // something else holds a page of it: then it has not begun.
            let begun = clock::wait_for("a container to say something", 10_000, || {
                let refused = process.log().contains("sealing memfd copy");
                match process.exit_status() {
                    Some(_) => Some(!refused),
                    None => (!refused && !process.log().is_empty()).then_some(true),
                }
            });
            if begun.with_context(|| process.tail())? {
                return Ok(process);
            }
            std::fs::remove_file(&log)?;
        }
        bail!("buildah could not seal its copy of itself ten times in a row")
    }
}

/// The hook before the end of a container, by its own words: a node that may go is drained and has its time; one that is needed is
/// not waited for, and the hook says so.
fn stops_by_draining(container: &Value) -> Result<()> {
    let words = container.pointer("/lifecycle/preStop/exec/command").and_then(Value::as_array);
    let words: Vec<&str> = words.context("no preStop")?.iter().filter_map(Value::as_str).collect();
    let environment = container["env"].as_array().into_iter().flatten();
    ensure!(environment.clone().any(|one| one["name"] == "HOST_NAME"), "whom does it drain?");
    let dir = tempfile::tempdir()?;
    let (log, path) = (dir.path().join("log"), dir.path().display().to_string());
    let hook = |status: i32| -> Result<(Option<i32>, String)> {
        for (program, status) in [("cluster-ctl", status), ("sleep", 0)] {
            let file = dir.path().join(program);
            let script =
                format!("#!/bin/sh\necho {program} $* >> {}\nexit {status}\n", log.display());
            std::fs::write(&file, script)?;
            shell::run(Command::new("chmod").arg("755").arg(&file))?;
        }
        std::fs::write(&log, "")?;
        let mut command = Command::new(words.first().context("no command")?);
        command.args(&words[1..]).env("HOST_NAME", "machine");
        command.env("PATH", format!("{path}:/usr/bin:/bin"));
        let outcome = shell::run_any(&mut command, 10_000)?;
        Ok((outcome.code, std::fs::read_to_string(&log)?))
    };
    let drained = hook(0)?;
    ensure!(
        drained == (Some(0), "cluster-ctl node drain machine\nsleep 10\n".into()),
        "{drained:?}"
    );
    let needed = hook(1)?;
    ensure!(needed == (Some(1), "cluster-ctl node drain machine\n".into()), "{needed:?}");
    Ok(())
}

#[test]
fn the_manifests_are_valid_and_their_settings_are_those_of_three_nodes() -> Result<()> {
    let test = "the_manifests_are_valid_and_their_settings_are_those_of_three_nodes";
    if let Some(reason) = no_yaml() {
        gate::skip(test, &reason);
        return Ok(());
    }
    let file = top().join("deploy/kubernetes/leasehold.yaml");
    match std::env::var_os("KUBERNETES_VALIDATE") {
        Some(_) => {
            let outcome = shell::run_any(
                python().args(["-m", "kubernetes_validate", "--strict"]).arg(&file),
                60_000,
            )?;
            ensure!(outcome.code == Some(0), "{}{}", outcome.stdout, outcome.stderr);
        }
        // It is not in Debian, and may not be at hand; what follows needs nothing.
        None => println!(
            "{test}: without schemas, since KUBERNETES_VALIDATE names no kubernetes-validate"
        ),
    }
    let documents = yaml(&file)?;
    let named = |kind: &str, name: &str| {
        let found =
            documents.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.with_context(|| format!("no {kind} {name}"))
    };
    let pod = &named("StatefulSet", "leasehold")?["spec"]["template"]["spec"];
    ensure!(pod["hostNetwork"] == true, "DHCP needs the host's network");
    // The hook drains for 10 s, SIGTERM takes 8 at most.
    ensure!(
        pod["terminationGracePeriodSeconds"].as_u64() >= Some(10 + 8 + 5),
        "it is killed while it hands over"
    );
    let anti =
        &pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    ensure!(anti["topologyKey"] == "kubernetes.io/hostname", "two pods on one machine");
    let container = &pod["containers"][0];
    ensure!(text(container, "/livenessProbe/httpGet/path")? == "/health/live", "liveness");
    ensure!(text(container, "/readinessProbe/httpGet/path")? == "/health/ready", "readiness");
    stops_by_draining(container)?;
    let budget = &named("PodDisruptionBudget", "leasehold")?["spec"];
    ensure!(budget["maxUnavailable"] == 1, "{budget}");

    // The settings as the init container makes them, on each machine, by its own script.
    let dir = tempfile::tempdir()?;
    let etc = dir.path().display().to_string();
    std::fs::create_dir(dir.path().join("config"))?;
    std::fs::create_dir(dir.path().join("settings"))?;
    let config = &named("ConfigMap", "leasehold")?["data"];
    for (name, value) in config.as_object().context("data")? {
        let value = value.as_str().context("a text")?.replace("/etc/leasehold", &etc);
        std::fs::write(dir.path().join("config").join(name), value)?;
    }
    read_kea_file(&dir.path().join("config/kea-dhcp4.conf"))
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let script =
        text(named("ConfigMap", "leasehold-start")?, "/data/fill")?.replace("/etc/leasehold", &etc);
    let fill = |address: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("HOST_ADDRESS", address).env("HOST_NAME", "machine");
        shell::run_any(&mut command, 10_000)
    };
    let mut lists = Vec::new();
    for number in 0..3 {
        let address = text(config, &format!("/NODE-{number}"))?;
        let outcome = fill(address)?;
        ensure!(outcome.code == Some(0), "{}", outcome.stderr);
        let filled = std::fs::read_to_string(dir.path().join("settings/node.toml"))?;
        ensure!(!filled.contains('@'), "{filled}");
        let settings = Settings::parse(&filled, "node.toml", "host")?;
        let peer = settings.peer.context("no [peer]")?;
        // And with the certificates that its comments offer.
        let mut guarded = filled.replace("insecure = true\n", "");
        for key in ["trust-anchor", "cert-file", "key-file"] {
            guarded = guarded.replace(&format!("# {key} = "), &format!("{key} = "));
        }
        let guarded = Settings::parse(&guarded, "node.toml", "host")?.peer.context("no [peer]")?;
        let files = guarded.files().context("no certificates")?;
        ensure!(files.cert_file.ends_with("secret/machine.pem"), "{files:?}");
        ensure!(peer.listen.ip().to_string() == address, "{filled}");
        lists.push(settings.cluster.initial);
    }
    ensure!(lists.iter().all(|list| list.len() == 3 && *list == lists[0]), "{lists:?}");
    let stranger = fill("192.0.2.99")?;
    ensure!(stranger.code == Some(1) && stranger.stderr.contains("is none of"), "{stranger:?}");
    Ok(())
}
