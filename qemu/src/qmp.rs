// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's own report: why the machine stopped (docs/interop/qmp-spec.rst).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use serde_json::Value;

/// What QEMU said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// `SHUTDOWN`
    pub(crate) name: String,
    /// `guest-reset` of a SHUTDOWN, `reset` of a WATCHDOG.
    pub(crate) reason: String,
}

/// Listens where QEMU, started with `-S`, will connect to; lets the machine run and collects until QEMU ends.
pub(crate) fn listen(socket: &Path) -> Result<JoinHandle<Vec<Event>>> {
    let listener = UnixListener::bind(socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    // What is read up to a break is all that can be had.
    Ok(thread::spawn(move || {
        let mut events = Vec::new();
        let _ = collect(&listener, &mut events);
        events
    }))
}

fn collect(listener: &UnixListener, events: &mut Vec<Event>) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n")?;
    for line in BufReader::new(stream).lines() {
        events.extend(parse(&line?));
    }
    Ok(())
}

fn parse(line: &str) -> Option<Event> {
    let message: Value = serde_json::from_str(line).ok()?;
    let name = message.get("event")?.as_str()?.to_owned();
    let data = message.get("data");
    let field = |key: &str| data?.get(key)?.as_str().map(str::to_owned);
    let reason = field("reason").or_else(|| field("action")).unwrap_or_default();
    Some(Event { name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(&str, &str)>) {
        let expected =
            expected.map(|(name, reason)| Event { name: name.into(), reason: reason.into() });
        assert_eq!(parse(line), expected);
    }

    #[test]
    fn events_have_a_name_and_a_reason() {
        let shutdown =
            r#"{"timestamp":{},"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}"#;
        check(shutdown, Some(("SHUTDOWN", "guest-reset")));
        check(r#"{"event":"WATCHDOG","data":{"action":"reset"}}"#, Some(("WATCHDOG", "reset")));
        check(r#"{"event":"RESUME"}"#, Some(("RESUME", "")));
        check(r#"{"return":{}}"#, None);
        check("", None);
    }
}
