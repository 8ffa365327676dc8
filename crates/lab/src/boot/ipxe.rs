//! iPXE's script language, as far as boot scripts use it: settings and their expansion, labels, `||` and `&&`, `chain`,
//! `kernel`, `initrd`, `boot`, `sanboot`, `exit` and the harmless rest.
//!
//! No sockets and no clock: [`Interpreter::next`] says what has to be done, the caller does it and answers with
//! [`Interpreter::fetched`]. Must never panic or run for ever, whatever the script is: the number of commands, of chained
//! scripts and the length of a line are bounded.
//!
//! Specification: iPXE's own documentation (ipxe.org/scripting, ipxe.org/cmd).

use std::collections::BTreeMap;

use url::Url;

/// Commands that one boot may run.
const MAX_COMMANDS: usize = 10_000;
/// Scripts inside scripts.
const MAX_DEPTH: usize = 16;
/// Bytes of one expanded line.
const MAX_LINE: usize = 16 * 1024;

/// A file that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    pub url: Url,
}

/// What the script wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fetch this, then call [`Interpreter::fetched`]. With `keep` the contents are wanted, otherwise only whether it worked.
    Fetch { url: Url, keep: bool },
    /// Wait so many seconds, then go on.
    Sleep(u64),
    /// Start this kernel.
    Boot {
        kernel: Image,
        initrds: Vec<Image>,
        /// The kernel's arguments.
        arguments: String,
    },
    /// Boot from the first disk.
    LocalDisk,
    /// Give back to the firmware, which tries the next boot device.
    NextDevice,
    /// Restart.
    Reboot,
    /// Switch off.
    PowerOff,
    /// A prompt that nobody answers: the host stays here.
    Shell,
    /// The script failed; firmware tries the next boot device.
    Failed(String),
}

/// What a fetch gave: the contents (empty when they were not wanted), or nothing.
pub type Fetched = Option<Vec<u8>>;

#[derive(Debug)]
struct Frame {
    lines: Vec<String>,
    at: usize,
    url: Url,
    /// What is left of the line that chained to another script: `|| goto failed`.
    pending: Vec<(Joint, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// Always run.
    First,
    /// Only when the one before failed.
    Or,
    /// Only when the one before succeeded.
    And,
}

#[derive(Debug)]
enum Waiting {
    Chain(Url),
    Kernel { image: Image, arguments: String },
    Initrd(Image),
}

/// What a command came to.
enum Done {
    Status(bool),
    Act(Action),
    Exit(bool),
}

/// A script that runs.
#[derive(Debug)]
pub struct Interpreter {
    frames: Vec<Frame>,
    settings: BTreeMap<String, String>,
    kernel: Option<(Image, String)>,
    initrds: Vec<Image>,
    waiting: Option<Waiting>,
    commands: usize,
    last_error: String,
}

/// Whether these bytes are a script.
#[must_use]
pub fn is_script(bytes: &[u8]) -> bool {
    bytes.starts_with(b"#!ipxe") || bytes.starts_with(b"#!gpxe")
}

impl Interpreter {
    /// `settings` are what the firmware knows, e.g. `net0/mac`; `url` is where the script came from.
    #[must_use]
    pub fn new(settings: BTreeMap<String, String>, script: &[u8], url: Url) -> Self {
        let mut interpreter = Self {
            frames: Vec::new(),
            settings,
            kernel: None,
            initrds: Vec::new(),
            waiting: None,
            commands: 0,
            last_error: String::new(),
        };
        interpreter.enter(script, url);
        interpreter
    }

    fn enter(&mut self, script: &[u8], url: Url) {
        let text = String::from_utf8_lossy(script);
        // a backslash at the end of a line joins it to the next
        let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
        let lines = joined.lines().map(|line| line.trim().to_owned()).collect();
        self.frames.push(Frame {
            lines,
            at: 0,
            url,
            pending: Vec::new(),
        });
    }

    /// Hands over what a [`Action::Fetch`] gave.
    pub fn fetched(&mut self, outcome: Fetched) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let Some(bytes) = outcome else {
            let what = match &waiting {
                Waiting::Chain(url) => url,
                Waiting::Kernel { image, .. } | Waiting::Initrd(image) => &image.url,
            };
            self.last_error = format!("{} could not be fetched", what.path());
            self.conclude(false);
            return;
        };
        match waiting {
            Waiting::Chain(url) => {
                if !is_script(&bytes) {
                    self.last_error = format!("{} is not an iPXE script", url.path());
                    self.conclude(false);
                } else if self.frames.len() >= MAX_DEPTH {
                    self.last_error = format!("more than {MAX_DEPTH} scripts inside each other");
                    self.conclude(false);
                } else {
                    self.enter(&bytes, url);
                }
            }
            Waiting::Kernel { image, arguments } => {
                self.kernel = Some((image, arguments));
                self.conclude(true);
            }
            Waiting::Initrd(image) => {
                self.initrds.push(image);
                self.conclude(true);
            }
        }
    }

    /// The command that ran had this status: throws away what must not run after it, and ends the script when it failed
    /// with nothing to catch it.
    fn conclude(&mut self, mut status: bool) {
        while let Some(frame) = self.frames.last_mut() {
            while let Some((joint, _)) = frame.pending.first() {
                match (joint, status) {
                    (Joint::Or, true) => {
                        // `a || b && c`: iPXE leaves out one command, not the rest of the line
                        frame.pending.remove(0);
                    }
                    (Joint::And, false) => {
                        frame.pending.remove(0);
                    }
                    _ => return,
                }
            }
            if status {
                return;
            }
            // a failed line ends its script, and the chain command that started the script failed with it
            self.frames.pop();
            status = false;
        }
    }

    /// Leaves the innermost script as `exit` does.
    fn leave(&mut self, status: bool) {
        self.frames.pop();
        if !status && self.last_error.is_empty() {
            "the script ended with an error".clone_into(&mut self.last_error);
        }
        self.conclude(status);
    }

    fn ended(&self) -> Action {
        if self.last_error.is_empty() {
            Action::NextDevice
        } else {
            Action::Failed(self.last_error.clone())
        }
    }

    /// Goes on until the caller is needed.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Action {
        if self.waiting.is_some() {
            // the caller forgot to answer: nothing came
            self.fetched(None);
        }
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return self.ended();
            };
            if frame.pending.is_empty() {
                let Some(line) = frame.lines.get(frame.at) else {
                    // the end of a script is an exit; a loaded kernel is not started by it
                    self.last_error.clear();
                    self.leave(true);
                    continue;
                };
                frame.at = frame.at.saturating_add(1);
                if line.is_empty() || line.starts_with('#') || line.starts_with(':') {
                    continue;
                }
                frame.pending = split(line);
                continue;
            }
            let (_, text) = frame.pending.remove(0);
            self.commands = self.commands.saturating_add(1);
            if self.commands > MAX_COMMANDS {
                self.frames.clear();
                return Action::Failed(format!("the script ran more than {MAX_COMMANDS} commands"));
            }
            match self.run(&text) {
                Done::Status(status) => {
                    if !status && self.last_error.is_empty() {
                        self.last_error = format!("{text:?} failed");
                    }
                    if status {
                        self.last_error.clear();
                    }
                    self.conclude(status);
                }
                Done::Exit(status) => {
                    if status {
                        self.last_error.clear();
                    }
                    self.leave(status);
                }
                Done::Act(action) => return action,
            }
        }
    }

    fn fail(&mut self, why: String) -> Done {
        self.last_error = why;
        Done::Status(false)
    }

    fn resolve(&self, reference: &str) -> Option<Url> {
        let base = self.frames.last().map(|frame| &frame.url);
        match base {
            Some(base) => base.join(reference).ok(),
            None => Url::parse(reference).ok(),
        }
    }

    fn run(&mut self, text: &str) -> Done {
        let line = self.expand(text);
        let mut words = line.split_whitespace();
        let Some(command) = words.next() else {
            return Done::Status(true);
        };
        let arguments: Vec<&str> = words.collect();
        match command {
            "echo" | "ifopen" | "ifclose" | "ifconf" | "ifstat" | "dhcp" | "route" | "imgstat"
            | "cpuid" | "colour" | "cpair" | "console" | "nstat" | "ntp" => Done::Status(true),
            "set" => self.set(&line),
            "clear" => {
                for name in arguments {
                    self.settings.remove(name);
                }
                Done::Status(true)
            }
            "isset" => Done::Status(!arguments.is_empty()),
            "iseq" => match arguments.as_slice() {
                [a, b] => Done::Status(a == b),
                _ => Done::Status(false),
            },
            "inc" => {
                let step = arguments
                    .get(1)
                    .and_then(|n| n.parse::<u64>().ok())
                    .unwrap_or(1);
                let Some(name) = arguments.first() else {
                    return self.fail("inc without a name".to_owned());
                };
                let value = self.settings.get(*name).and_then(|v| v.parse::<u64>().ok());
                let value = value.unwrap_or(0).saturating_add(step);
                self.settings.insert((*name).to_owned(), value.to_string());
                Done::Status(true)
            }
            "goto" => self.goto(arguments.first().copied().unwrap_or_default()),
            "sleep" => {
                let seconds = arguments.last().and_then(|n| n.parse().ok()).unwrap_or(1);
                self.conclude(true);
                Done::Act(Action::Sleep(seconds))
            }
            // nobody presses a key: without a time-out the host stays here, with one it is a failure
            "prompt"
                if !arguments
                    .iter()
                    .any(|a| a.starts_with("--timeout") || a.starts_with("-t")) =>
            {
                Done::Act(Action::Shell)
            }
            "prompt" => self.fail("nobody pressed a key".to_owned()),
            "chain" => self.load(&arguments, |url, _, _| Waiting::Chain(url)),
            "kernel" => {
                let line = line.clone();
                self.load(&arguments, move |url, name, at| Waiting::Kernel {
                    image: Image {
                        name: name.unwrap_or_else(|| last_segment(&url)),
                        url,
                    },
                    arguments: tail_of(&line, at),
                })
            }
            "initrd" | "module" | "imgfetch" => self.load(&arguments, |url, name, _| {
                Waiting::Initrd(Image {
                    name: name.unwrap_or_else(|| last_segment(&url)),
                    url,
                })
            }),
            "imgargs" => {
                let text = tail_of(&line, 1);
                match &mut self.kernel {
                    Some((_, arguments)) => {
                        *arguments = text;
                        Done::Status(true)
                    }
                    None => self.fail("imgargs without a kernel".to_owned()),
                }
            }
            "imgfree" => {
                self.kernel = None;
                self.initrds.clear();
                Done::Status(true)
            }
            "boot" => match self.kernel.clone() {
                Some((kernel, arguments)) => Done::Act(Action::Boot {
                    kernel,
                    initrds: self.initrds.clone(),
                    arguments,
                }),
                None => self.fail("boot without a kernel".to_owned()),
            },
            "sanboot" => {
                let local = arguments
                    .iter()
                    .any(|a| a.starts_with("--drive") || *a == "-d" || a.starts_with("0x8"));
                if local {
                    Done::Act(Action::LocalDisk)
                } else {
                    self.fail("a simulated host has no SAN".to_owned())
                }
            }
            "exit" => {
                let status = arguments.first().is_none_or(|code| *code == "0");
                Done::Exit(status)
            }
            "reboot" => Done::Act(Action::Reboot),
            "poweroff" => Done::Act(Action::PowerOff),
            "shell" | "config" => Done::Act(Action::Shell),
            other => self.fail(format!("{other}: command not found")),
        }
    }

    fn set(&mut self, line: &str) -> Done {
        let mut words = line.split_whitespace();
        words.next();
        let Some(name) = words.next() else {
            return self.fail("set without a name".to_owned());
        };
        // `set name:string value`: the type only matters for how it is stored
        let name = name.split(':').next().unwrap_or(name).to_owned();
        let value = tail_of(line, 2);
        if value.is_empty() {
            self.settings.remove(&name);
        } else {
            self.settings.insert(name, value);
        }
        Done::Status(true)
    }

    fn goto(&mut self, label: &str) -> Done {
        let Some(frame) = self.frames.last_mut() else {
            return Done::Status(false);
        };
        let found = frame.lines.iter().position(|line| {
            line.strip_prefix(':')
                .is_some_and(|name| name.split_whitespace().next() == Some(label))
        });
        match found {
            Some(at) if !label.is_empty() => {
                frame.at = at;
                frame.pending.clear();
                Done::Status(true)
            }
            _ => self.fail(format!("no label {label:?}")),
        }
    }

    /// Options, then a reference; `then` gets the URL, the name option and the number of words up to and with the reference.
    fn load(
        &mut self,
        arguments: &[&str],
        then: impl FnOnce(Url, Option<String>, usize) -> Waiting,
    ) -> Done {
        let mut name = None;
        let mut words = arguments.iter().enumerate();
        let reference = loop {
            let Some((at, word)) = words.next() else {
                return self.fail("nothing to load".to_owned());
            };
            match *word {
                "-n" | "--name" => name = words.next().map(|(_, value)| (*value).to_owned()),
                "-t" | "--timeout" => {
                    words.next();
                }
                option if option.starts_with("--name=") => {
                    name = option.split_once('=').map(|(_, value)| value.to_owned());
                }
                option if option.starts_with('-') => {}
                reference => break (at, reference),
            }
        };
        let (at, reference) = reference;
        let Some(url) = self.resolve(reference) else {
            return self.fail(format!("{reference:?} is not a URL"));
        };
        let waiting = then(url.clone(), name, at.saturating_add(2));
        let keep = matches!(waiting, Waiting::Chain(_));
        self.waiting = Some(waiting);
        Done::Act(Action::Fetch { url, keep })
    }

    /// Replaces `${name}` and `${name:type}`, the innermost first.
    fn expand(&self, text: &str) -> String {
        let mut line = text.to_owned();
        // each round replaces one innermost expansion; a value cannot start a new one without end
        for _ in 0..256 {
            let Some(end_from) = line.find("${").and_then(|from| line.get(from..)?.find('}'))
            else {
                break;
            };
            let end = line.find("${").unwrap_or(0).saturating_add(end_from);
            let Some(start) = line.get(..end).and_then(|head| head.rfind("${")) else {
                break;
            };
            let name = line.get(start.saturating_add(2)..end).unwrap_or_default();
            let value = self.setting(name);
            line.replace_range(start..=end, &value);
            if line.len() > MAX_LINE {
                line.truncate(line.floor_char_boundary(MAX_LINE));
                break;
            }
        }
        line
    }

    fn setting(&self, name: &str) -> String {
        let (name, kind) = name.split_once(':').unwrap_or((name, ""));
        if name == "cwuri" {
            return self
                .frames
                .last()
                .map(|f| f.url.to_string())
                .unwrap_or_default();
        }
        let direct = self.settings.get(name);
        // `${mac}` is `${net0/mac}`, and so are the others that belong to a card
        let of_card = || self.settings.get(&format!("net0/{name}"));
        let value = direct.or_else(of_card).cloned().unwrap_or_default();
        match kind {
            "hexhyp" => value.replace(':', "-"),
            "hexraw" => value.replace(':', ""),
            "uristring" => url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
            _ => value,
        }
    }
}

fn last_segment(url: &Url) -> String {
    url.path().rsplit('/').next().unwrap_or_default().to_owned()
}

/// The text after so many words, with its inner spaces.
fn tail_of(line: &str, words: usize) -> String {
    let mut rest = line.trim_start();
    for _ in 0..words {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest = rest.get(end..).unwrap_or_default().trim_start();
    }
    rest.trim_end().to_owned()
}

/// Splits a line at `||` and `&&` that stand alone.
fn split(line: &str) -> Vec<(Joint, String)> {
    let mut parts = vec![(Joint::First, String::new())];
    for word in line.split_inclusive(char::is_whitespace) {
        match word.trim() {
            "||" => parts.push((Joint::Or, String::new())),
            "&&" => parts.push((Joint::And, String::new())),
            _ => {
                if let Some((_, text)) = parts.last_mut() {
                    text.push_str(word);
                }
            }
        }
    }
    parts
        .into_iter()
        .map(|(joint, text)| (joint, text.trim().to_owned()))
        .collect()
}

/// Kernel arguments by name; quotes hold spaces together. A word without `=` has an empty value, the last of a name wins.
#[must_use]
pub fn kernel_parameters(line: &str) -> BTreeMap<String, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (word, String::new()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const BASE: &str = "http://10.0.0.1:8080/boot/script.ipxe";

    fn start(script: &str) -> Interpreter {
        let settings = [
            ("net0/mac", "52:54:00:00:00:01"),
            ("net0/ip", "10.0.0.9"),
            ("buildarch", "x86_64"),
        ];
        let settings = settings
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect();
        Interpreter::new(settings, script.as_bytes(), Url::parse(BASE).unwrap())
    }

    /// Runs to the end; `files` are what can be fetched, everything else is missing.
    fn run(script: &str, files: &[(&str, &str)]) -> (Vec<String>, Action) {
        let mut interpreter = start(script);
        let mut fetches = Vec::new();
        for _ in 0..1000 {
            match interpreter.next() {
                Action::Fetch { url, .. } => {
                    let path = url.path().to_owned();
                    let file = files.iter().find(|(name, _)| *name == path);
                    interpreter.fetched(file.map(|(_, text)| text.as_bytes().to_vec()));
                    fetches.push(path);
                }
                Action::Sleep(n) => fetches.push(format!("sleep {n}")),
                action => return (fetches, action),
            }
        }
        panic!("the script does not end");
    }

    #[test]
    fn boots_a_kernel() {
        let script = "#!ipxe\nset a ${mac:hexhyp}\nkernel --timeout 5000 k-${a} ipa-api-url=http://h:1 x=\"a b\" BOOTIF=${net0/mac} initrd=rd || goto no\ninitrd --name rd /rd.img || goto no\nboot\n:no\nexit 1";
        let (fetches, action) = run(
            script,
            &[("/boot/k-52-54-00-00-00-01", ""), ("/rd.img", "")],
        );
        assert_eq!(fetches, ["/boot/k-52-54-00-00-00-01", "/rd.img"]);
        let Action::Boot {
            kernel,
            initrds,
            arguments,
        } = action
        else {
            panic!("{action:?}")
        };
        assert_eq!(kernel.name, "k-52-54-00-00-00-01");
        assert_eq!(initrds[0].name, "rd");
        assert_eq!(
            arguments,
            "ipa-api-url=http://h:1 x=\"a b\" BOOTIF=52:54:00:00:00:01 initrd=rd"
        );
        let parameters = kernel_parameters(&arguments);
        assert_eq!(parameters["x"], "a b");
        assert_eq!(parameters["ipa-api-url"], "http://h:1");
    }

    #[test]
    fn ends() {
        let failed = |text: &str| Action::Failed(text.to_owned());
        for (script, files, expected) in [
            ("#!ipxe\n", vec![], Action::NextDevice),
            ("#!ipxe\nexit\n", vec![], Action::NextDevice),
            (
                "#!ipxe\nsanboot --no-describe --drive 0x80\n",
                vec![],
                Action::LocalDisk,
            ),
            ("#!ipxe\nreboot", vec![], Action::Reboot),
            ("#!ipxe\npoweroff", vec![], Action::PowerOff),
            ("#!ipxe\nshell", vec![], Action::Shell),
            (
                "#!ipxe\nisset ${net0/ip} && goto yes || goto no\n:yes\nreboot\n:no\nshell",
                vec![],
                Action::Reboot,
            ),
            (
                "#!ipxe\nisset ${nothing} && reboot || shell",
                vec![],
                Action::Shell,
            ),
            (
                "#!ipxe\niseq ${buildarch} x86_64 || shell\npoweroff",
                vec![],
                Action::PowerOff,
            ),
            ("#!ipxe\nchain sub || reboot\nshell", vec![], Action::Reboot),
            (
                "#!ipxe\nchain sub || reboot\nshell",
                vec![("/boot/sub", "#!ipxe\nexit 1")],
                Action::Reboot,
            ),
            (
                "#!ipxe\nchain sub || reboot\nshell",
                vec![("/boot/sub", "#!ipxe\nexit 0")],
                Action::Shell,
            ),
            (
                "#!ipxe\nchain sub || reboot\nshell",
                vec![("/boot/sub", "#!ipxe\nnonsense")],
                Action::Reboot,
            ),
            (
                "#!ipxe\nchain sub\nshell",
                vec![("/boot/sub", "binary")],
                failed("/boot/sub is not an iPXE script"),
            ),
            (
                "#!ipxe\nchain script.ipxe",
                vec![("/boot/script.ipxe", "#!ipxe\nchain script.ipxe")],
                failed("more than 16 scripts inside each other"),
            ),
            (
                "#!ipxe\n:a\ngoto a",
                vec![],
                failed("the script ran more than 10000 commands"),
            ),
            ("#!ipxe\ngoto b", vec![], failed("no label \"b\"")),
            (
                "#!ipxe\nkernel /k",
                vec![],
                failed("/k could not be fetched"),
            ),
            ("#!ipxe\nboot", vec![], failed("boot without a kernel")),
            (
                "#!ipxe\nset i:int32 0\n:again\ninc i\niseq ${i} 3 || goto again\nreboot",
                vec![],
                Action::Reboot,
            ),
            (
                "#!ipxe\nprompt --timeout 1 x || reboot\nshell",
                vec![],
                Action::Reboot,
            ),
            (
                "#!ipxe\nset x ${net${n}0/mac}\niseq ${x} 52:54:00:00:00:01 && reboot || shell",
                vec![],
                Action::Reboot,
            ),
            (
                "#!ipxe\nset x a b  c\niseq ${x} q || reboot",
                vec![],
                Action::Reboot,
            ),
        ] {
            assert_eq!(run(script, &files).1, expected, "{script}");
        }
    }

    #[test]
    fn retries_with_pauses() {
        let script = "#!ipxe\n:retry\nkernel /k || goto wait\nboot\n:wait\nsleep 2\ninc n\niseq ${n} 3 || goto retry\npoweroff";
        let (fetches, action) = run(script, &[]);
        assert_eq!(fetches, ["/k", "sleep 2", "/k", "sleep 2", "/k", "sleep 2"]);
        assert_eq!(action, Action::PowerOff);
    }
}
