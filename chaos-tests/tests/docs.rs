//! The commands of the documentation, run as a reader would: page by page, from top to bottom, on machines that boot for it.
//!
//! How pages are written for this is told in `docs/README.md`. `DOCS_ONLY=part-of-a-path` runs some pages alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::floor::netns::machine::{self, Machine};
use chaos_tests::floor::netns::racks::{self, ThreeRacks};
use chaos_tests::floor::netns::topology::{Namespace, Nic, Switch};
use chaos_tests::pages::{self, Command, Page, Sandbox};
use chaos_tests::{clock, gate};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(30);

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every page with commands for people, by its path from the top. Decisions and references tell of no sequences.
fn names() -> Result<Vec<String>> {
    let mut names = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(top().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    for entry in std::fs::read_dir(top().join("deploy"))? {
        let name = format!("deploy/{}/README.md", entry?.file_name().to_string_lossy());
        if top().join(&name).is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Every page, or what is wrong with the writing of some.
fn all() -> Result<BTreeMap<String, Page>> {
    let (mut read, mut mistakes) = (BTreeMap::new(), Vec::new());
    for name in names()? {
        match pages::parse(&std::fs::read_to_string(top().join(&name))?) {
            Ok(page) => {
                read.insert(name, page);
            }
            Err(found) => mistakes.extend(found.iter().map(|mistake| format!("{name}, {mistake}"))),
        }
    }
    ensure!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    Ok(read)
}

#[test]
fn every_command_of_a_page_is_written_so_that_it_is_run_and_every_link_leads_somewhere()
-> Result<()> {
    let mut broken = Vec::new();
    for (name, page) in all()? {
        let beside = top().join(&name).parent().context("a directory")?.to_owned();
        for link in &page.links {
            if !beside.join(link).exists() {
                broken.push(format!("{name} links to {link}, which is not there"));
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn every_page_and_every_decision_is_on_its_map() -> Result<()> {
    let mut lost = Vec::new();
    for (map, directory) in [("docs/README.md", "docs"), ("docs/architecture.md", "docs/decisions")]
    {
        let text = std::fs::read_to_string(top().join(map))?;
        for entry in std::fs::read_dir(top().join(directory))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let known = text.contains(&name) || map.ends_with(&name);
            if name.ends_with(".md") && !known {
                lost.push(format!("{map} does not name {directory}/{name}"));
            }
        }
    }
    ensure!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

#[test]
fn the_commands_of_the_pages_do_what_the_pages_say() -> Result<()> {
    let test = "the_commands_of_the_pages_do_what_the_pages_say";
    let pages = all()?;
    let Some(_gate) = gate::enter(test, machine::TOOLS)? else { return Ok(()) };
    let only = std::env::var("DOCS_ONLY").unwrap_or_default();
    let mut complaints = Vec::new();
    for (name, page) in pages.iter().filter(|(name, _)| name.contains(&only)) {
        for (line, reason) in &page.not_run {
            println!("{name}, line {line}: not run, {reason}");
        }
        if page.commands.is_empty() {
            continue;
        }
        let began = clock::now_ms();
        let mut lab = WorkDir::create(&name.replace('/', "-"))?;
        match run(page, lab.path()) {
            Ok(()) => {
                let (count, took) = (page.commands.len(), clock::now_ms() - began);
                println!("{name}: {count} commands, {took} ms");
                lab.passed();
            }
            Err(error) => complaints.push(format!("{name}, {error:#}")),
        }
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    Ok(())
}

/// Runs a page in its sandbox.
fn run(page: &Page, lab: &Path) -> Result<()> {
    match page.sandbox {
        Sandbox::Empty | Sandbox::OneNode => {
            let (lan, network) = (Switch::create("lan")?, Namespace::create("docs")?);
            let address = Some(([10, 77, 0, 1].into(), 16));
            lan.plug(&network, "eth0", "host", Nic { mac: None, address })?;
            let machine = Machine::boot("rack-a-1", network, lab)?;
            machine.run(&format!("dpkg -i {}", machine::seen(&machine::package(lab)?)?))?;
            if page.sandbox == Sandbox::OneNode {
                machine.run("systemctl start leasehold")?;
                machine.wait_ready("http://127.0.0.1:8000/health/ready", 20_000)?;
            }
            type_all(&page.commands, &machine, lab, "")
        }
        Sandbox::ThreeMachines | Sandbox::ThreeNodes => {
            let running = page.sandbox == Sandbox::ThreeNodes;
            let racks = if running { ThreeRacks::start(lab)? } else { ThreeRacks::boot(lab)? };
            let calls = lab.join("calls");
            std::fs::create_dir(&calls)?;
            for tool in ["ssh", "scp"] {
                let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/docs");
                std::fs::copy(data.join(tool), lab.join(tool))?;
                racks.operator.run(&format!("install -m 755 /media/lab/{tool} /usr/local/bin/"))?;
            }
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| answer_calls(&racks, &calls, &done));
                let set = format!("export LEASEHOLD_NODE={}", racks::APIS);
                let first = if running { set.as_str() } else { "" };
                let result = type_all(&page.commands, &racks.operator, lab, first);
                done.store(true, Relaxed);
                result
            })
        }
    }
}

/// Carries out what the stand-in for ssh was asked for: `NAME.call` has the node in its first line and the script after it. Each
/// call has a thread, as each ssh has a connection.
fn answer_calls(racks: &ThreeRacks, calls: &Path, done: &AtomicBool) {
    std::thread::scope(|scope| {
        while !done.load(Relaxed) {
            for call in std::fs::read_dir(calls).into_iter().flatten().flatten() {
                let path = call.path();
                let taken = path.with_extension("taken");
                if path.extension().is_some_and(|end| end == "call")
                    && std::fs::rename(&path, &taken).is_ok()
                {
                    scope.spawn(move || {
                        let (output, status) = answer(racks, &taken)
                            .unwrap_or_else(|error| (format!("{error:#}\n"), 255));
                        let _ = std::fs::write(taken.with_extension("out"), output);
                        let _ = std::fs::write(taken.with_extension("new"), status.to_string());
                        let _ = std::fs::rename(
                            taken.with_extension("new"),
                            taken.with_extension("status"),
                        );
                    });
                }
            }
            clock::sleep_ms(30);
        }
    });
}

fn answer(racks: &ThreeRacks, call: &Path) -> Result<(String, i32)> {
    let text = std::fs::read_to_string(call)?;
    let (name, script) = text.split_once('\n').context("a call without a script")?;
    let index = racks::RACKS.iter().position(|rack| name == format!("rack-{rack}-1"));
    let node = index
        .and_then(|index| racks.nodes.get(index))
        .with_context(|| format!("no host {name}"))?;
    let outcome = node.run_any(script, 30_000)?;
    Ok((outcome.stdout + &outcome.stderr, outcome.code.unwrap_or(255)))
}

/// Types `commands` into one shell on `machine`.
fn type_all(commands: &[Command], machine: &Machine, lab: &Path, first: &str) -> Result<()> {
    let mut shell = Shell::start(machine, lab)?;
    if !first.is_empty() {
        shell.run(first)?;
    }
    for command in commands {
        let Command { line, script, status, prints } = command;
        let (got, printed) = shell.run(script).with_context(|| format!("line {line}: {script}"))?;
        ensure!(
            got == *status,
            "line {line}: {script}\nended with {got}, and the page says {status}; it printed\n{printed}\n{}",
            machine.journal("leasehold")
        );
        ensure!(
            prints.iter().all(|line| line.trim().is_empty())
                || pages::matches(trimmed(prints), &printed),
            "line {line}: {script}\nprinted\n{printed}\nand the page shows\n{}",
            prints.join("\n")
        );
    }
    Ok(())
}

/// Without the empty lines at the end, which part a block.
fn trimmed(lines: &[String]) -> &[String] {
    let end = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    &lines[..end]
}

/// A bash that commands are given to one by one.
struct Shell<'a> {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    lab: &'a Path,
    count: usize,
}

impl<'a> Shell<'a> {
    fn start(machine: &Machine, lab: &'a Path) -> Result<Shell<'a>> {
        let mut command = machine.command("exec bash");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) =
            (child.stdin.take().context("a pipe")?, child.stdout.take().context("a pipe")?);
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Shell { child, input, answers, lab, count: 0 })
    }

    /// Runs `script` and gives its exit status and what it printed. What it left in the background goes on writing to a file of its own.
    fn run(&mut self, script: &str) -> Result<(i32, String)> {
        self.count += 1;
        let (file, output) = (format!("command-{}", self.count), format!("output-{}", self.count));
        std::fs::write(self.lab.join(&file), format!("{script}\n"))?;
        writeln!(
            self.input,
            ". /media/lab/{file} < /dev/null > /media/lab/{output} 2>&1; echo $?"
        )?;
        let read = || {
            String::from_utf8_lossy(&std::fs::read(self.lab.join(&output)).unwrap_or_default())
                .into_owned()
        };
        match self.answers.recv_timeout(LIMIT) {
            Ok(status) => Ok((status.trim().parse().context("a status")?, read())),
            Err(RecvTimeoutError::Timeout) => {
                bail!("still runs after {LIMIT:?}; it printed\n{}", read())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("ended the shell; it printed\n{}", read()),
        }
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
