//! Process 1 of the deploy ramdisk: file systems, kernel modules, console, orphans, power.
//!
//! Must never return and never exit, since the kernel panics when process 1 ends: a failure is told on the console and
//! tried again, and a machine that cannot do its work is switched off after a while.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::MountFlags;
use rustix::system::RebootCommand;

/// Paths of kernel modules, one a line, in the order in which they are loaded.
const MODULE_LIST: &str = "/etc/bessemer/modules";
/// The kernel unpacks compressed modules itself when told so (linux/module.h).
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

/// Whether this process is the first one.
#[must_use]
pub fn is_process_one() -> bool {
    rustix::process::getpid().as_raw_nonzero().get() == 1
}

/// Mounts the kernel's file systems and takes the console. What fails is told; some of it may be there already.
pub fn prepare_file_systems() {
    let none = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, target, flags) in [
        ("proc", "/proc", none),
        ("sysfs", "/sys", none),
        ("devtmpfs", "/dev", MountFlags::NOSUID),
        ("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV),
        ("tmpfs", "/tmp", MountFlags::NOSUID | MountFlags::NODEV),
    ] {
        mount(kind, target, flags);
    }
    take_console();
}

/// After modules are loaded, since efivarfs may be one.
pub fn mount_efi_variables() {
    if Path::new("/sys/firmware/efi").exists() {
        mount(
            "efivarfs",
            "/sys/firmware/efi/efivars",
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        );
    }
}

fn mount(kind: &str, target: &str, flags: MountFlags) {
    let _ = std::fs::create_dir_all(target);
    match rustix::mount::mount(kind, target, kind, flags, None::<&std::ffi::CStr>) {
        Ok(()) | Err(rustix::io::Errno::BUSY) => {}
        Err(error) => eprintln!("bessemer-agent: {target} cannot be mounted ({kind}): {error}"),
    }
}

/// Standard input, output and error are the console, whatever the kernel gave.
fn take_console() {
    match File::options().read(true).write(true).open("/dev/console") {
        Ok(console) => {
            let _ = rustix::stdio::dup2_stdin(&console);
            let _ = rustix::stdio::dup2_stdout(&console);
            let _ = rustix::stdio::dup2_stderr(&console);
        }
        // without a console the agent still works over the network
        Err(error) => eprintln!("bessemer-agent: /dev/console cannot be opened: {error}"),
    }
}

/// Loads every module of the list; gives the number loaded and a sentence for each that failed.
#[must_use]
pub fn load_modules() -> (usize, Vec<String>) {
    let text = match std::fs::read_to_string(MODULE_LIST) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (0, Vec::new()),
        Err(error) => return (0, vec![format!("{MODULE_LIST} cannot be read: {error}")]),
    };
    let mut loaded = 0_usize;
    let mut complaints = Vec::new();
    for (path, parameters) in module_lines(&text) {
        match load_module(&path, &parameters) {
            Ok(()) => loaded = loaded.saturating_add(1),
            Err(error) => complaints.push(format!(
                "module {} cannot be loaded: {error}",
                path.display()
            )),
        }
    }
    (loaded, complaints)
}

/// `PATH [PARAMETER=VALUE …]`; relative paths start at `/`; `#` begins a comment.
#[must_use]
pub fn module_lines(text: &str) -> Vec<(PathBuf, String)> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (path, parameters) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (Path::new("/").join(path), parameters.trim().to_owned())
        })
        .collect()
}

fn load_module(path: &Path, parameters: &str) -> std::io::Result<()> {
    let file = File::open(path)?;
    let parameters = CString::new(parameters)?;
    let compressed = path
        .extension()
        .is_some_and(|e| e == "xz" || e == "zst" || e == "gz");
    let flags = if compressed {
        MODULE_INIT_COMPRESSED_FILE
    } else {
        0
    };
    match rustix::system::finit_module(&file, &parameters, flags) {
        // EEXIST: built in or loaded before; ENODEV: a driver that checks for its hardware at once
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the kernel has random numbers: keys need them. Asking by system call makes the kernel gather entropy from
/// timing, which waiting on `/dev/random`, as libraries in a static program do, does not; a machine without a hardware
/// generator would then hang for minutes without a word.
pub fn wait_for_randomness() {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut byte = [0_u8; 1];
    if getrandom(&mut byte, GetRandomFlags::NONBLOCK).is_ok() {
        return;
    }
    tracing::info!("the kernel has no random numbers yet, waiting for them");
    let began = std::time::Instant::now();
    while let Err(error) = getrandom(&mut byte, GetRandomFlags::empty()) {
        if error != rustix::io::Errno::INTR {
            tracing::warn!("no random numbers from the kernel: {error}");
            return;
        }
    }
    tracing::info!(
        "random numbers after {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

/// Collects orphans that ended, for ever.
pub async fn reap() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return;
    };
    while ended.recv().await.is_some() {
        while let Ok(Some(_)) = rustix::process::waitpid(None, rustix::process::WaitOptions::NOHANG)
        {
        }
    }
}

/// Switches the machine off, or restarts it. Does not return on success.
pub fn end_machine(restart: bool) {
    rustix::fs::sync();
    let command = if restart {
        RebootCommand::Restart
    } else {
        RebootCommand::PowerOff
    };
    if let Err(error) = rustix::system::reboot(command) {
        eprintln!("bessemer-agent: the kernel refuses to end the machine: {error}");
        // the way that works when the other does not
        let key = if restart { "b" } else { "o" };
        if let Err(error) = std::fs::write("/proc/sysrq-trigger", key) {
            eprintln!("bessemer-agent: nor by sysrq: {error}");
        }
    }
}

/// The end of the road for process 1: tells why, leaves time to read it, switches off, and never returns.
pub fn give_up(why: &str) -> ! {
    loop {
        eprintln!(
            "bessemer-agent: {why}. The machine is switched off in 10 minutes; reset it to try again."
        );
        std::thread::sleep(Duration::from_secs(600));
        end_machine(false);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn list_of_modules() {
        assert_eq!(
            module_lines("# all\n/lib/a.ko\nlib/b.ko x=1 y=2 # why\n\n"),
            [
                (PathBuf::from("/lib/a.ko"), String::new()),
                (PathBuf::from("/lib/b.ko"), "x=1 y=2".to_owned()),
            ]
        );
    }
}
