//! The oracle: the corpus against a real Kea and against one Leasehold node, compared field by field.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::gate;
use chaos_tests::kea::Version;
use chaos_tests::kea::corpus::{self, Exchange, Setting, Step};
use chaos_tests::kea::differences::{self, Difference, Ledger, Mismatch};
use chaos_tests::kea::lab::Lab;
use chaos_tests::kea::reply::{Outcome, differing, fields};
use chaos_tests::kea::run::{self, Outcomes, applies};
use chaos_tests::kea::server::Kind;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kea")
}

/// Every file of the corpus.
fn settings() -> Result<Vec<Setting>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data().join("corpus"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut settings = Vec::new();
    for file in files {
        let topic = file.file_stem().and_then(|stem| stem.to_str()).context("a file's name")?;
        settings.extend(corpus::parse(topic, &std::fs::read_to_string(&file)?)?);
    }
    Ok(settings)
}

fn listed() -> Result<Vec<Difference>> {
    differences::parse(&std::fs::read_to_string(data().join("differences.txt"))?)
}

fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

#[test]
fn kea_and_leasehold_answer_the_corpus_alike() -> Result<()> {
    let test = "kea_and_leasehold_answer_the_corpus_alike";
    let (kind, version) = match Kind::kea() {
        Ok(Kind::Kea { version, root }) => (Kind::Kea { version, root }, version),
        Ok(Kind::Leasehold) => return Ok(()),
        Err(reason) => {
            gate::skip(test, &reason);
            return Ok(());
        }
    };
    let Some(_gate) = gate::enter(test, &[])? else { return Ok(()) };
    let alone = asked("ORACLE_ALONE").is_some();
    let only = asked("ORACLE_ONLY");
    let settings: Vec<Setting> = settings()?
        .into_iter()
        .filter(|setting| {
            let place = format!("{}/{}", setting.topic, setting.name);
            only.as_ref().is_none_or(|only| place.contains(only.as_str()))
                && setting.exchanges.iter().any(|exchange| applies(setting, exchange, version))
        })
        .collect();
    let list = listed()?;
    let mut ledger = Ledger::new(&list, version);
    let mut dir = WorkDir::create(test)?;
    let mut kea_lab = Lab::create("kea")?;
    let mut own_lab = Lab::create("own")?;
    let (mut complaints, mut exchanges, mut packets, mut excused) = (Vec::new(), 0, 0, 0);
    for setting in &settings {
        let place = format!("{} / {}", setting.topic, setting.name);
        let cable = (!alone).then_some(&mut own_lab);
        let (kea, own) = run::setting((&mut kea_lab, &kind), cable, setting, version, dir.path())
            .with_context(|| place.clone())?;
        let kea = kea.with_context(|| format!("Kea with {place}"))?;
        let Outcomes::Tried(kea) = kea else {
            let Outcomes::Refused(why) = kea else { continue };
            complaints.push(format!("{place}: Kea refuses the configuration: {why}"));
            continue;
        };
        let tried: Vec<&Exchange> =
            setting.exchanges.iter().filter(|one| applies(setting, one, version)).collect();
        exchanges += tried.len();
        packets += kea.iter().map(Vec::len).sum::<usize>();
        let own = match own {
            None => None,
            Some(Ok(Outcomes::Tried(own))) => Some(own),
            Some(Ok(Outcomes::Refused(why))) => {
                complaints.push(format!("{place}: Leasehold refuses the configuration: {why}"));
                None
            }
            Some(Err(error)) => {
                complaints.push(format!("{place}: Leasehold: {error:#}"));
                None
            }
        };
        for (at, exchange) in tried.iter().enumerate() {
            let mismatches =
                compare(&place, exchange, &kea[at], own.as_ref().map(|own| own[at].as_slice()));
            for mismatch in mismatches {
                if ledger.excuses(&mismatch) {
                    excused += 1;
                } else {
                    let Mismatch { place, kea, here } = mismatch;
                    complaints
                        .push(format!("{place}\n    kea:       {kea}\n    leasehold: {here}"));
                }
            }
        }
    }
    println!(
        "Kea {}: {} configurations, {exchanges} exchanges, {packets} packets; {excused} fields differ as listed",
        version.text(),
        settings.len()
    );
    if only.is_none() && !alone {
        complaints.extend(ledger.stale());
    }
    ensure!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    dir.passed();
    Ok(())
}

/// Statistics that the sentinels raise, each as often as silence was waited for.
fn is_of_sentinels(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "pkt4-received",
        "pkt4-discover-received",
        "pkt4-request-received",
        "pkt4-sent",
        "pkt4-offer-sent",
        "pkt4-ack-sent",
        "pkt4-nak-sent",
        "assigned-addresses",
        "cumulative-assigned-addresses",
    ];
    NAMES.contains(&name) || name.starts_with("subnet[9999].")
}

/// What only Kea has: the replicated state counts these by subnet.
fn is_left_out(name: &str) -> bool {
    let of_pool = name.contains("].pool[");
    of_pool && (name.contains("cumulative") || name.contains("reclaimed"))
}

#[test]
fn kea_and_leasehold_count_the_same_packets_alike() -> Result<()> {
    let test = "kea_and_leasehold_count_the_same_packets_alike";
    let (kind, version) = match Kind::kea() {
        Ok(Kind::Kea { version, root }) => (Kind::Kea { version, root }, version),
        Ok(Kind::Leasehold) => return Ok(()),
        Err(reason) => {
            gate::skip(test, &reason);
            return Ok(());
        }
    };
    let Some(_gate) = gate::enter(test, &[])? else { return Ok(()) };
    let settings =
        corpus::parse("statistics", &std::fs::read_to_string(data().join("statistics.txt"))?)?;
    let mut dir = WorkDir::create(test)?;
    let mut lab = Lab::create("stat")?;
    let (mut complaints, mut compared) = (Vec::new(), 0);
    for setting in settings.iter().filter(|one| one.only.is_none_or(|only| only == version)) {
        let [kea, own] = [&kind, &Kind::Leasehold].map(|kind| {
            run::statistics(&mut lab, kind, setting, version, dir.path())
                .with_context(|| format!("{kind:?} with {}", setting.name))
        });
        let (kea, own) = (kea?, own?);
        let names = kea.keys().filter(|name| !is_of_sentinels(name) && !is_left_out(name));
        for name in names {
            compared += 1;
            let (theirs, ours) = (kea.get(name), own.get(name));
            if theirs != ours {
                complaints.push(format!("{}: {name}: {theirs:?} and {ours:?}", setting.name));
            }
        }
        // What neither has counted is of no use here.
        ensure!(kea.get("v4-allocation-fail").is_some_and(|count| *count > 0), "no failure");
    }
    println!("Kea {}: {compared} statistics are the same", version.text());
    ensure!(complaints.is_empty(), "Kea and Leasehold:\n{}", complaints.join("\n"));
    dir.passed();
    Ok(())
}

/// What differs in `exchange`; prints it when asked.
fn compare(
    place: &str,
    exchange: &Exchange,
    kea: &[Outcome],
    own: Option<&[Outcome]>,
) -> Vec<Mismatch> {
    let show = asked("ORACLE_SHOW").is_some();
    let sent = exchange.steps.iter().filter_map(|step| match step {
        Step::Packet { verb, text, .. } => Some((*verb, text)),
        Step::Sleep(_) => None,
    });
    let mut mismatches = Vec::new();
    for (at, (verb, text)) in sent.enumerate() {
        let theirs = fields(&kea[at]);
        if show {
            println!("{place} / {} / {} {text}", exchange.name, at + 1);
            let boring =
                ["op", "htype", "hlen", "secs", "chaddr", "hops", "300 bytes", "from", "option 53"];
            let shown: Vec<String> = theirs
                .iter()
                .filter(|(name, value)| {
                    !boring.contains(&name.as_str())
                        && *value != "0.0.0.0"
                        && !value.starts_with("00*")
                        && *value != "0000"
                })
                .map(|(name, value)| format!("{}={value}", name.replace("option ", "")))
                .collect();
            println!("    {}", shown.join("  "));
        }
        let Some(own) = own else { continue };
        let ours = fields(&own[at]);
        let again = matches!(&kea[at], Outcome::Replies { again: true, .. });
        for name in differing(again, &theirs, &ours) {
            let value = |fields: &chaos_tests::kea::reply::Fields| {
                fields.get(&name).cloned().unwrap_or_else(|| "-".to_owned())
            };
            mismatches.push(Mismatch {
                place: format!("{place} / {} / {} {} / {name}", exchange.name, at + 1, verb.word()),
                kea: value(&theirs),
                here: value(&ours),
            });
        }
    }
    mismatches
}

#[test]
fn the_corpus_has_at_least_150_exchanges_with_each_version() -> Result<()> {
    let settings = settings()?;
    for version in [Version::V2, Version::V3] {
        let count: usize = settings
            .iter()
            .map(|setting| {
                setting.exchanges.iter().filter(|one| applies(setting, one, version)).count()
            })
            .sum();
        println!("Kea {}: {count} exchanges", version.text());
        ensure!(count >= 150, "{count} exchanges");
    }
    Ok(())
}

/// `ORACLE_WRITE_PAGE=1` writes it.
#[test]
fn the_page_of_differences_is_made_from_the_list() -> Result<()> {
    differences::check_page("differences-from-kea.md", differences::PACKETS, &listed()?)
}
