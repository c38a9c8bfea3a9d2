//! The control API: the same requests to a real Kea and to one node, compared member by member.
//!
//! Kea 2.2 is what Debian has and what CI compares with. What Kea 3.0 answers is written down in `data/api/kea-3.0`, so a node is
//! compared with it everywhere; with `ORACLE_KEA=3` the notes are compared with a Kea that runs, and `ORACLE_RECORD=1` writes them.
//! Where the two versions answer differently we follow 3.0, and that is no difference from 2.2 worth a line in the list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::gate;
use chaos_tests::kea::Version;
use chaos_tests::kea::answer;
use chaos_tests::kea::control::{self, Answered};
use chaos_tests::kea::differences::{self, Difference, Ledger, Mismatch};
use chaos_tests::kea::lab::Lab;
use chaos_tests::kea::requests::{self, Story};
use chaos_tests::kea::server::Kind;
use serde_json::Value;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/api")
}

fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn topics() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(data().join("requests"))?;
    let mut topics = Vec::new();
    for entry in entries {
        let path = entry?.path();
        topics.push(path.file_stem().and_then(|stem| stem.to_str()).context("a name")?.to_owned());
    }
    topics.sort();
    Ok(topics)
}

fn stories() -> Result<Vec<Story>> {
    let mut stories = Vec::new();
    for topic in topics()? {
        let file = data().join("requests").join(&topic).with_extension("txt");
        stories.extend(requests::parse(&topic, &std::fs::read_to_string(file)?)?);
    }
    let only = asked("ORACLE_ONLY");
    stories.retain(|story| {
        let place = format!("{}/{}", story.topic, story.title);
        only.as_ref().is_none_or(|only| place.contains(only.as_str()))
    });
    Ok(stories)
}

fn listed() -> Result<Vec<Difference>> {
    differences::parse(&std::fs::read_to_string(data().join("differences.txt"))?)
}

/// What Kea 3.0 answered, by place.
fn noted() -> Result<BTreeMap<String, Value>> {
    let mut notes = BTreeMap::new();
    for topic in topics()? {
        let file = data().join("kea-3.0").join(&topic).with_extension("txt");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        for pair in lines.chunks(2) {
            let [place, answer] = pair else { continue };
            notes.insert((*place).to_owned(), serde_json::from_str(answer)?);
        }
    }
    Ok(notes)
}

fn write_notes(answers: &[Answered]) -> Result<()> {
    let dir = data().join("kea-3.0");
    std::fs::create_dir_all(&dir)?;
    for topic in topics()? {
        let mut text = String::new();
        let begin = format!("{topic} / ");
        for one in answers.iter().filter(|one| one.place.starts_with(&begin)) {
            writeln!(text, "{}\n{}\n", one.place, one.answer)?;
        }
        std::fs::write(dir.join(&topic).with_extension("txt"), text)?;
    }
    Ok(())
}

/// What differs between Kea's answer and ours. A command that this Kea does not have is not compared.
fn compare(command: &str, place: &str, kea: &Value, own: &Value) -> Vec<Mismatch> {
    let mismatch = |name: &str, kea: Option<&String>, here: Option<&String>| Mismatch {
        place: format!("{place} / {name}"),
        kea: kea.map_or("-", String::as_str).to_owned(),
        here: here.map_or("-", String::as_str).to_owned(),
    };
    if kea["result"] == 2 && command != "raw" && command != "nope" {
        return Vec::new();
    }
    let (theirs, ours) = (answer::fields(command, kea), answer::fields(command, own));
    if own["result"] == 2 && kea["result"] != 2 {
        return vec![mismatch("result", theirs.get("result"), ours.get("result"))];
    }
    let mut names: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| theirs.get(*name) != ours.get(*name))
        .map(|name| mismatch(name, theirs.get(name), ours.get(name)))
        .collect()
}

/// Where what was noted is not what Kea answers now.
fn stale_notes(notes: &BTreeMap<String, Value>, kea: &[Answered]) -> Vec<String> {
    kea.iter()
        .filter_map(|one| {
            let noted = notes.get(&one.place)?;
            let place = &one.place;
            (*noted != one.answer)
                .then(|| format!("{place}\n    noted: {noted}\n    kea:   {}", one.answer))
        })
        .collect()
}

#[test]
fn kea_and_leasehold_answer_the_same_requests_alike() -> Result<()> {
    let test = "kea_and_leasehold_answer_the_same_requests_alike";
    let (kind, version) = match Kind::kea() {
        Ok(Kind::Kea { version, root }) => (Kind::Kea { version, root }, version),
        Ok(Kind::Leasehold) => return Ok(()),
        Err(reason) => {
            gate::skip(test, &reason);
            return Ok(());
        }
    };
    let Some(_gate) = gate::enter(test, &[])? else { return Ok(()) };
    let dhcp4: Value = serde_json::from_str(&std::fs::read_to_string(data().join("floor.json"))?)?;
    let mut dir = WorkDir::create(test)?;
    let lab = Lab::create("api")?;
    let (mut kea, mut own) = (Vec::new(), Vec::new());
    for story in &stories()? {
        let place = || format!("{} / {}", story.topic, story.title);
        kea.extend(
            control::tell(&kind, &lab.server, &dhcp4, story, dir.path()).with_context(place)?,
        );
        let told = control::tell(&Kind::Leasehold, &lab.server, &dhcp4, story, dir.path());
        own.extend(told.with_context(place)?);
    }
    if version == Version::V3 && asked("ORACLE_RECORD").is_some() {
        ensure!(asked("ORACLE_ONLY").is_none(), "all of it is written down or nothing");
        write_notes(&kea)?;
    }
    let notes = noted()?;
    let mut complaints = stale_notes(&notes, if version == Version::V3 { &kea } else { &[] });
    let list = listed()?;
    let mut versions = vec![Version::V3];
    if version == Version::V2 {
        versions.push(Version::V2);
    }
    for against in versions {
        let mut ledger = Ledger::new(&list, against);
        let (mut compared, mut excused) = (0, 0);
        for (kea, own) in kea.iter().zip(&own) {
            let noted = notes.get(&kea.place).with_context(|| {
                format!("no note of Kea 3.0 for {}: ORACLE_RECORD=1 makes it", kea.place)
            })?;
            let theirs = if against == Version::V2 { &kea.answer } else { noted };
            compared += usize::from(theirs["result"] != 2);
            let mut mismatches = compare(&own.command, &own.place, theirs, &own.answer);
            if against == Version::V2 {
                let newer = compare(&own.command, &own.place, noted, &own.answer);
                let lacking = noted["result"] == 2;
                mismatches
                    .retain(|one| lacking || newer.iter().any(|other| other.place == one.place));
            }
            for mismatch in mismatches {
                if ledger.excuses(&mismatch) {
                    excused += 1;
                    continue;
                }
                let Mismatch { place, kea, here } = mismatch;
                complaints.push(format!(
                    "{place}\n    kea {}:   {kea}\n    leasehold: {here}",
                    against.text()
                ));
            }
        }
        println!(
            "Kea {}: {compared} answers compared; {excused} members differ as listed",
            against.text()
        );
        if asked("ORACLE_ONLY").is_none() {
            complaints.extend(ledger.stale());
        }
    }
    ensure!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    dir.passed();
    Ok(())
}

/// `ORACLE_WRITE_PAGE=1` writes it.
#[test]
fn the_page_of_api_differences_is_made_from_the_list() -> Result<()> {
    differences::check_page("differences-from-kea-api.md", differences::REQUESTS, &listed()?)
}
