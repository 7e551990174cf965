// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits until the network can be reached: for what decides whether a trial is good.

use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::root::Root;
use crate::say;
use crate::this_boot::within;

/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// For one connection: a peer that does not answer at once may be one that has not heard of this address yet.
const CONNECT: Duration = Duration::from_secs(5);

/// `RTF_UP` and `RTF_REJECT` of `linux/route.h`.
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// Somebody who answers.
#[derive(Clone, Debug)]
pub(crate) struct Peer(String);

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let bare = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
        match port.parse::<u16>() {
            Ok(1..) if !host.is_empty() && bare => Ok(Self(text.to_owned())),
            _ => Err("expected HOST:PORT, an IPv6 address in brackets".to_owned()),
        }
    }
}

/// `bootsel reachable`
pub(crate) fn reachable(root: &Root, timeout: Duration, peer: Option<&Peer>) -> Result<()> {
    let end = Instant::now() + timeout;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Err(why) = look(root, peer, left) else { return Ok(()) };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = timeout.as_secs();
            return Err(Error::Failed(format!("not reachable within {seconds} s: {why}")));
        }
        thread::sleep(left.min(AGAIN));
    }
}

/// What is there, or the reason that a person can do something about.
fn look(root: &Root, peer: Option<&Peer>, left: Duration) -> std::result::Result<(), String> {
    let v4 = root.text("proc/net/route").unwrap_or_default();
    let v6 = root.text("proc/net/ipv6_route").unwrap_or_default();
    let route = default_v4(&v4).or_else(|| default_v6(&v6));
    let interface = route.ok_or("there is no default route")?;
    let Some(Peer(peer)) = peer else {
        say(&format!("there is a default route over {interface}"));
        return Ok(());
    };
    let to = peer.clone();
    // a name server that does not answer is waited for by the C library, and not as long as is left
    let connected = within(left.max(AGAIN), move || connect(&to, left));
    connected.unwrap_or_else(|| Err(format!("{peer}: no answer from a name server")))?;
    say(&format!("{peer} answers"));
    Ok(())
}

/// The first address that answers; the reason is the last one's.
fn connect(peer: &str, left: Duration) -> std::result::Result<(), String> {
    let addresses = peer.to_socket_addrs().map_err(|why| format!("{peer}: {why}"))?;
    let mut last = format!("{peer}: it has no address");
    for address in addresses {
        let time = left.min(CONNECT).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, time) {
            Ok(_) => return Ok(()),
            Err(why) => last = format!("cannot connect to {peer} ({address}): {why}"),
        }
    }
    Err(last)
}

/// The interface of a default route. (`net/ipv4/fib_trie.c`: Iface Destination Gateway Flags RefCnt Use Metric Mask)
fn default_v4(table: &str) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [interface, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
        let all = [destination, mask].iter().all(|word| *word == "00000000");
        (all && is_usable(flags)).then_some(interface)
    })
}

/// Likewise. (`net/ipv6/route.c`: destination, prefix, source, prefix, next hop, metric, references, use, flags, name)
/// Where there is no route at all the kernel lists one over `lo` that rejects.
fn default_v6(table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [destination, prefix, _, _, _, _, _, _, flags, interface] = fields[..] else {
            return None;
        };
        let all = prefix == "00" && destination.bytes().all(|byte| byte == b'0');
        (all && is_usable(flags) && interface != "lo").then_some(interface)
    })
}

fn is_usable(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0 && flags & REJECT == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let local = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let default = "eth0\t00000000\t0202000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        assert_eq!(default_v4(&format!("{head}{local}{default}")), Some("eth0"));
        assert_eq!(default_v4(&format!("{head}{local}")), None);
        let rejected = default.replace("0003", "0203");
        assert_eq!(default_v4(&format!("{head}{rejected}")), None);
        assert_eq!(default_v4("x\n00000000 00000000\n"), None);
    }

    #[test]
    fn routes_v6() {
        let zero = "00000000000000000000000000000000";
        let line = |prefix: &str, flags: &str, interface: &str| {
            format!(
                "{zero} {prefix} {zero} 00 fe800000000000000000000000000002 00000400 00000001 00000000 {flags} {interface}\n"
            )
        };
        assert_eq!(default_v6(&line("00", "00450003", "wlan0")), Some("wlan0"));
        assert_eq!(default_v6(&line("40", "00450003", "wlan0")), None);
        assert_eq!(default_v6(&line("00", "00200200", "lo")), None);
    }

    #[test]
    fn peers() {
        for good in ["example.com:443", "10.0.0.1:1", "[::1]:80"] {
            assert!(good.parse::<Peer>().is_ok(), "{good}");
        }
        for bad in ["example.com", ":80", "a:0", "a:65536", "::1:80", "a:b"] {
            assert!(bad.parse::<Peer>().is_err(), "{bad}");
        }
    }
}
