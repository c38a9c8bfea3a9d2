//! Where log lines go: standard output, as Kea's default logger, as text or as JSON.
//!
//! One event is one line: control characters are escaped, so that what clients and peers send cannot write
//! a line of its own. `LEASEHOLD_LOG` in the environment (`info`, `debug`, `leasehold::serve=debug`, …) goes
//! before the level of the settings.

use std::fmt::{self, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging for the process. Calling it twice keeps the first. `level` is one of `error`, `warn`,
/// `info`, `debug` and `trace`.
pub fn start_logging(level: &str, as_json: bool) {
    // While a peer is away openraft warns twenty times a second; ours tell it once.
    let others = match level {
        "debug" | "trace" => "openraft=info,h2=info,hyper=info,sled=warn",
        _ => "openraft=error,chunked_wal=warn,sled=warn",
    };
    let filter = EnvFilter::try_from_env("LEASEHOLD_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},{others}")));
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    let _ = match as_json {
        true => logging.json().flatten_event(true).try_init(),
        false => {
            logging.with_ansi(false).event_format(OneLine(format().with_ansi(false))).try_init()
        }
    };
}

/// Writes an event as the format inside does, on one line.
struct OneLine<F>(F);

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        escape(line.strip_suffix('\n').unwrap_or(&line), &mut writer)?;
        writer.write_char('\n')
    }
}

/// Control characters as Rust writes them, the rest as it is.
fn escape(line: &str, out: &mut dyn Write) -> fmt::Result {
    if !line.contains(char::is_control) {
        return out.write_str(line);
    }
    for character in line.chars() {
        match character.is_control() {
            true => write!(out, "{}", character.escape_default())?,
            false => out.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the lines of a client with a wicked name look like.
    fn logged(as_json: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let logging =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_target(true);
        let tell = || {
            let name = "x\nERROR forged: \u{1b}[31m\r\u{85}y";
            tracing::warn!(name, shown = %name, "of a client: {name}");
        };
        match as_json {
            true => {
                tracing::subscriber::with_default(logging.json().flatten_event(true).finish(), tell)
            }
            false => tracing::subscriber::with_default(
                logging.with_ansi(false).event_format(OneLine(format().with_ansi(false))).finish(),
                tell,
            ),
        }
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    #[test]
    fn nobody_writes_a_line_of_his_own() {
        for as_json in [false, true] {
            let text = logged(as_json);
            let (line, rest) = text.split_once('\n').unwrap();
            assert_eq!(rest, "", "{text}");
            assert!(line.contains("forged"), "{line}");
            let controls = line.chars().filter(|it| it.is_control() && *it != '\u{85}').count();
            assert_eq!(controls, 0, "{line:?}");
        }
        let parsed: serde_json::Value = serde_json::from_str(&logged(true)).unwrap();
        assert_eq!(parsed["level"], "WARN");
        assert!(parsed["name"].as_str().unwrap().contains("\nERROR"), "{parsed}");
    }
}
