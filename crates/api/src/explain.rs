//! Why a node's last operation failed, and what to check next, from what its timeline says.
//!
//! A pure function over what was recorded: no device is asked, and what nobody recorded is not guessed.

use bessemer_model::{MacAddress, Timestamp};
use bessemer_store::{Stranger, TimelineEvent, TimelineSource};
use serde_json::Value;

/// A failure as the conductor marked it in the timeline.
pub struct Failure<'a> {
    event: &'a TimelineEvent,
    flow: &'a str,
    phase: &'a str,
    aborted: bool,
    /// When the node was switched on for this, else when the phase began.
    since: Timestamp,
}

/// The last failure in the timeline.
pub fn last_failure(events: &[TimelineEvent]) -> Option<Failure<'_>> {
    let (at, event) = events
        .iter()
        .enumerate()
        .rev()
        .find(|(_, e)| mark(e).is_some())?;
    let mark = mark(event)?;
    let text = |key: &str| mark.get(key).and_then(Value::as_str).unwrap_or_default();
    let switched_on = events
        .get(..at)?
        .iter()
        .rev()
        .find(|e| e.source == TimelineSource::Bmc && e.text.starts_with("power on"));
    let entered = Timestamp::parse(text("since")).unwrap_or(event.at);
    Some(Failure {
        event,
        flow: text("flow"),
        phase: text("phase"),
        aborted: mark.get("aborted") == Some(&Value::Bool(true)),
        since: switched_on.map_or(entered, |on| on.at.min(entered)),
    })
}

fn mark(event: &TimelineEvent) -> Option<&Value> {
    event.data.as_ref()?.get("failed")
}

impl Failure<'_> {
    /// Between these times something may have been seen that belongs to it.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        (self.since, self.event.at)
    }

    fn seconds(&self) -> u64 {
        self.event.at.since(self.since).as_secs()
    }
}

/// Sentences: what happened, and what to check next.
pub fn explain(
    failure: &Failure<'_>,
    events: &[TimelineEvent],
    ports: &[MacAddress],
    strangers: &[Stranger],
) -> String {
    if failure.aborted {
        return format!(
            "The operator aborted the {} in phase {}; nothing is to be checked.",
            failure.flow, failure.phase
        );
    }
    let (what, next) = match failure.phase {
        "wait-agent" | "wait-report" => boot(failure, events, ports, strangers),
        "check-image" => (
            failure.event.text.clone(),
            "Check instance_info/image_source and its checksum, and that the conductor reaches the address.",
        ),
        "power-off" | "power-on" | "power-off-after" | "verify-power" | "soft-power-off" => (
            failure.event.text.clone(),
            "Check the BMC: its address and credentials in driver_info, that the conductor reaches it, and its event log.",
        ),
        "prepare-ramdisk" => (
            failure.event.text.clone(),
            "Check that the BMC accepts a boot device, and the deploy kernel and ramdisk in driver_info or [conductor].",
        ),
        "collect-steps" | "run-steps" => (
            failure.event.text.clone(),
            "See the agent's lines before the failure, and the node's console.",
        ),
        _ => (
            failure.event.text.clone(),
            "See the lines of the timeline before the failure.",
        ),
    };
    format!("{} {next}", sentence(&what))
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// How far a boot came that ended in nothing.
fn boot(
    failure: &Failure<'_>,
    events: &[TimelineEvent],
    ports: &[MacAddress],
    strangers: &[Stranger],
) -> (String, &'static str) {
    let (from, to) = failure.window();
    let seen = |source: TimelineSource| {
        events
            .iter()
            .rev()
            .find(move |e| e.source == source && e.at >= from && e.at <= to)
    };
    let fetched = seen(TimelineSource::Http).or_else(|| seen(TimelineSource::Tftp));
    let seconds = failure.seconds();
    let of_node = if ports.is_empty() {
        "it has no port".to_owned()
    } else {
        format!("its ports are {}", listed(ports))
    };
    if let Some(agent) = seen(TimelineSource::Agent) {
        return (
            format!(
                "The ramdisk's agent was heard of, but not what was waited for: {}",
                agent.text
            ),
            "See the node's console: the agent has no way to the API any more, or has ended.",
        );
    }
    if let Some(fetched) = fetched {
        let ramdisk = events.iter().any(|e| {
            matches!(e.source, TimelineSource::Http | TimelineSource::Tftp)
                && e.at >= from
                && e.at <= to
                && (e.text.contains("ramdisk") || e.text.contains("initramfs"))
        });
        return if ramdisk {
            (
                format!(
                    "The ramdisk was fetched ({}), but its agent did not call in {seconds} s",
                    fetched.text
                ),
                "See the node's console; check that the node reaches the API at [deploy] external_callback_url, and that its clock and its network card's driver do not keep it from that.",
            )
        } else {
            (
                format!(
                    "The last that the node fetched was \"{}\"; no request for the ramdisk in {seconds} s",
                    fetched.text
                ),
                "Check that the boot loader fits the node's boot mode and architecture, and that it reaches the HTTP port of the boot service.",
            )
        };
    }
    if let Some(dhcp) = seen(TimelineSource::Dhcp) {
        return (
            format!(
                "The firmware got an answer to DHCP (\"{}\") and fetched nothing in {seconds} s",
                dhcp.text
            ),
            "Check the way from the node to the TFTP and HTTP ports of the boot service, and that no other DHCP server answers there.",
        );
    }
    if strangers.is_empty() {
        return (
            format!(
                "Nothing was heard of the node in {seconds} s after it was switched on, no DHCP request either ({of_node})"
            ),
            "Check that it boots from the network, the cabling and VLAN of its boot port, and that port's address.",
        );
    }
    (
        format!(
            "Firmware asked for DHCP on {}, which is not a port of this node ({of_node}); no request for the ramdisk in {seconds} s",
            listed(strangers.iter().map(|s| s.mac))
        ),
        "When that is this node's network card, correct the address of its port or add one; else check that the node boots from the network, and its cabling.",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn event(second: i64, source: TimelineSource, text: &str) -> TimelineEvent {
        TimelineEvent {
            at: Timestamp(second * 1_000_000),
            source,
            text: text.to_owned(),
            data: None,
        }
    }

    fn failed(second: i64, phase: &str, aborted: bool) -> TimelineEvent {
        TimelineEvent {
            data: Some(json!({"failed": {
                "flow": "deploy", "phase": phase, "aborted": aborted, "since": Timestamp(12_000_000),
            }})),
            ..event(
                second,
                TimelineSource::Engine,
                "The deploy of node x failed: it did not work",
            )
        }
    }

    fn check(between: &[TimelineEvent], phase: &str, strangers: &[&str], expected: &str) {
        let mut events = vec![
            event(1, TimelineSource::Dhcp, "an older answer"),
            event(10, TimelineSource::Bmc, "power on sent"),
        ];
        events.extend_from_slice(between);
        events.push(failed(100, phase, false));
        let ports = ["52:54:00:00:00:01".parse().unwrap()];
        let strangers: Vec<Stranger> = strangers
            .iter()
            .map(|mac| Stranger {
                mac: mac.parse().unwrap(),
                text: String::new(),
                first_at: Timestamp(20_000_000),
                last_at: Timestamp(30_000_000),
                count: 3,
            })
            .collect();
        let failure = last_failure(&events).unwrap();
        let text = explain(&failure, &events, &ports, &strangers);
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn how_far_a_boot_came() {
        use TimelineSource as S;
        check(
            &[],
            "wait-agent",
            &["52:54:00:00:00:02"],
            "Firmware asked for DHCP on 52:54:00:00:00:02, which is not a port of this node (its ports are \
             52:54:00:00:00:01); no request for the ramdisk in 90 s. ",
        );
        check(
            &[],
            "wait-agent",
            &[],
            "Nothing was heard of the node in 90 s after it was switched on",
        );
        let dhcp = event(20, S::Dhcp, "offered 192.0.2.1");
        check(
            std::slice::from_ref(&dhcp),
            "wait-agent",
            &["52:54:00:00:00:02"],
            "The firmware got an answer to DHCP (\"offered 192.0.2.1\") and fetched nothing in 90 s. ",
        );
        let loader = event(30, S::Tftp, "sent snponly.efi, 900 bytes");
        check(
            &[dhcp.clone(), loader.clone()],
            "wait-agent",
            &[],
            "The last that the node fetched was \"sent snponly.efi, 900 bytes\"; no request for the ramdisk in 90 s. ",
        );
        let ramdisk = event(40, S::Http, "sent the ramdisk, 14.2 MB");
        check(
            &[dhcp, loader, ramdisk.clone()],
            "wait-report",
            &[],
            "The ramdisk was fetched (sent the ramdisk, 14.2 MB), but its agent did not call in 90 s. See the node's console",
        );
        check(
            &[ramdisk, event(50, S::Agent, "the agent looked its node up")],
            "wait-agent",
            &[],
            "The ramdisk's agent was heard of, but not what was waited for: the agent looked its node up. ",
        );
    }

    #[test]
    fn other_failures_keep_their_sentence_and_name_what_to_check() {
        let expected = "The deploy of node x failed: it did not work. ";
        for phase in [
            "check-image",
            "power-on",
            "prepare-ramdisk",
            "run-steps",
            "done",
        ] {
            check(&[], phase, &[], expected);
        }
        let aborted = [failed(100, "run-steps", true)];
        let failure = last_failure(&aborted).unwrap();
        assert_eq!(
            explain(&failure, &aborted, &[], &[]),
            "The operator aborted the deploy in phase run-steps; nothing is to be checked."
        );
        assert!(last_failure(&[event(1, TimelineSource::Engine, "all is well")]).is_none());
    }
}
