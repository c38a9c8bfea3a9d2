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
use chaos_tests::{clock, gate, shell};

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
        for pages::Link { file, anchor } in &page.links {
            let target = if file.is_empty() { top().join(&name) } else { beside.join(file) };
            if !target.exists() {
                broken.push(format!("{name} links to {file}, which is not there"));
            } else if let Some(anchor) = anchor
                && !headings(&target)?.contains(anchor)
            {
                broken
                    .push(format!("{name} links to {file}#{anchor}, and there is no such heading"));
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// What links call the headings of a page, whoever wrote it.
fn headings(page: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let heads = text.lines().filter(|line| line.starts_with('#'));
    Ok(heads.map(|line| pages::anchor(line.trim_start_matches('#').trim())).collect())
}

/// Pages that tell of `cluster-ctl`: also those that have no commands to be run.
fn all_texts() -> Result<Vec<(String, String)>> {
    let mut names = names()?;
    for directory in ["docs/decisions", "docs/reference"] {
        for entry in std::fs::read_dir(top().join(directory))? {
            names.push(format!("{directory}/{}", entry?.file_name().to_string_lossy()));
        }
    }
    names.retain(|name| name.ends_with(".md"));
    let read = |name: String| Ok((name.clone(), std::fs::read_to_string(top().join(&name))?));
    names.into_iter().map(read).collect()
}

#[test]
fn every_command_line_of_cluster_ctl_in_a_page_is_one_that_it_understands() -> Result<()> {
    let program = gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?;
    let (mut count, mut wrong) = (0, Vec::new());
    for (name, text) in all_texts()? {
        for typed in pages::command_lines(&text, "cluster-ctl") {
            count += 1;
            if let Err(why) = understood(&program, &typed.words) {
                let words = typed.words.join(" ");
                wrong.push(format!("{name}, line {}: cluster-ctl {words}\n  {why}", typed.line));
            }
        }
    }
    println!("{count} command lines of cluster-ctl");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What may stand for a value that a page leaves to its reader, or to a variable.
const VALUES: [&str; 5] = ["1", "1h", "192.0.2.1", "192.0.2.1:7701", "0123456789abcdef"];

/// Whether the program's own parser takes these words. `--help` at their end has it say so and do nothing: what is wrong before
/// is told first.
fn understood(program: &Path, words: &[String]) -> Result<(), String> {
    // The text may go on with `…`.
    let end = words.len() - usize::from(words.last().is_some_and(|word| word == "…"));
    let mut command = std::process::Command::new(program);
    command.args(&words[..end]).arg("--help");
    let outcome = shell::run_any(&mut command, 10_000).map_err(|error| format!("{error:#}"))?;
    if outcome.code == Some(0) {
        return Ok(());
    }
    let why = outcome.stderr.lines().next().unwrap_or_default().to_owned();
    let bad = why.strip_prefix("error: invalid value '").and_then(|rest| rest.split('\'').next());
    let place = words.iter().position(|word| Some(word.as_str()) == bad && is_placeholder(word));
    let filled = |value: &&str| {
        let mut words = words.to_vec();
        place.is_some_and(|at| {
            words[at] = (*value).to_owned();
            understood(program, &words).is_ok()
        })
    };
    if VALUES.iter().any(filled) { Ok(()) } else { Err(why) }
}

#[test]
fn words_that_cluster_ctl_does_not_know_are_found() -> Result<()> {
    let program = gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?;
    let takes = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        understood(&program, &words)
    };
    for good in ["node drain NAME --stop", "node token revoke $id", "lease get …", "snapshot …"]
    {
        ensure!(takes(good).is_ok(), "{good}: {:?}", takes(good));
    }
    for bad in [
        "node drian NAME",
        "node drain --halt NAME",
        "status NAME",
        "lease get all",
        "status -o yaml",
    ] {
        ensure!(takes(bad).is_err(), "{bad} is taken");
    }
    Ok(())
}

/// `$variable`, `…`, or a word in capital letters.
fn is_placeholder(word: &str) -> bool {
    let letters = |is: fn(char) -> bool| word.chars().any(is);
    word.contains(['$', '…']) || letters(char::is_uppercase) && !letters(char::is_lowercase)
}

#[test]
fn every_page_and_every_decision_is_on_its_map() -> Result<()> {
    let mut lost = Vec::new();
    for (map, directory) in [("docs/README.md", "docs"), ("docs/architecture.md", "docs/decisions")]
    {
        let text = std::fs::read_to_string(top().join(map))?;
        for entry in std::fs::read_dir(top().join(directory))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let known = text.contains(&format!("{name})")) || map.ends_with(&name);
            if name.ends_with(".md") && !known {
                lost.push(format!("{map} does not link to {directory}/{name}"));
            }
        }
    }
    ensure!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

#[test]
fn the_commands_of_pages_about_one_node_do_what_the_pages_say() -> Result<()> {
    let one = |sandbox| matches!(sandbox, Sandbox::Empty | Sandbox::OneNode);
    run_all("the_commands_of_pages_about_one_node_do_what_the_pages_say", one)
}

#[test]
fn the_commands_of_pages_about_clusters_do_what_the_pages_say() -> Result<()> {
    let several = |sandbox| !matches!(sandbox, Sandbox::Empty | Sandbox::OneNode);
    run_all("the_commands_of_pages_about_clusters_do_what_the_pages_say", several)
}

/// Runs the pages whose sandbox is one of `which`, and tells what is not run.
fn run_all(test: &str, which: fn(Sandbox) -> bool) -> Result<()> {
    let mut pages = all()?;
    pages.retain(|_, page| which(page.sandbox));
    let Some(_gate) = gate::enter(test, machine::TOOLS)? else { return Ok(()) };
    let only = std::env::var("DOCS_ONLY").unwrap_or_default();
    let mut complaints = Vec::new();
    let (mut run_count, mut not_run) = (0, 0);
    for (name, page) in pages.iter().filter(|(name, _)| name.contains(&only)) {
        for (line, reason) in &page.not_run {
            println!("{name}, line {line}: not run, {reason}");
        }
        run_count += page.commands.len();
        not_run += page.not_run.len();
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
    println!("{run_count} commands are run; {not_run} blocks are not, for the reasons above");
    ensure!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    Ok(())
}

/// What pages are given.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/docs")
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
            if let Some(script) = &page.brings {
                std::fs::copy(data().join(script), lab.join(script))
                    .with_context(|| script.clone())?;
                machine.run(&format!("bash /media/lab/{script}"))?;
            }
            type_all(&page.commands, &machine, lab, "")
        }
        Sandbox::ThreeMachines | Sandbox::ThreeNodes | Sandbox::FiveMachines => {
            let running = page.sandbox != Sandbox::ThreeMachines;
            let more = if page.sandbox == Sandbox::FiveMachines { racks::MORE.len() } else { 0 };
            let start = if running { ThreeRacks::start } else { ThreeRacks::boot };
            let racks = start(lab, more)?;
            let calls = lab.join("calls");
            std::fs::create_dir(&calls)?;
            for tool in ["ssh", "scp"] {
                std::fs::copy(data().join(tool), lab.join(tool))?;
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
    let mut names = racks::RACKS.iter().chain(&racks::MORE);
    let index = names.position(|rack| name == format!("rack-{rack}-1"));
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
