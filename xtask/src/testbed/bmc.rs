//! The machine's BMC: OpenIPMI's `ipmi_sim`, an implementation of IPMI 2.0 that is not ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Node;
use crate::process::{Daemon, command, output, wait_for};

/// User and password of every BMC of the testbed.
pub const USER: &str = "admin";
pub const PASSWORD: &str = "secret12";

const SENSOR: &str = r#"sdr type 1
	sensor_owner_id		0x20
	sensor_owner_lun	0
	channel_number		0
	sensor_number		1
	entity_id		system_board
	entity_instance		1
	sensor_type		Temperature
	init_scanning		true
	init_sensor_type	true
	default_sensor_scan_on	true
	event_reading_type_code	1
	analog_data_format	unsigned
	rate_unit		none
	modifier_unit		none
	percentage		false
	base_unit		degrees_C
	modifier_unit_code	unspecified
	linearization		linear
	m			1
	tolerance		0
	b			0
	accuracy		1
	accuracy_exp		0
	sensor_direction	input
	r_exp			0
	b_exp			0
	sensor_maximum		255
	sensor_minimum		0
	id_string		"CPU Temp"
endsdr
"#;

/// A running BMC.
#[derive(Debug)]
pub struct Bmc {
    daemon: Daemon,
}

impl Bmc {
    /// Starts the BMC of a node and waits until it answers `ipmitool`. `xtask` is the program whose `chassis` command switches the
    /// machine.
    pub fn start(node: &Node, xtask: &Path) -> Result<Bmc> {
        let directory = node.state.join("bmc");
        let sdr = directory.join("state/ipmi_sim").join(&node.name);
        std::fs::create_dir_all(&sdr)?;
        std::fs::write(directory.join("temperature"), "42\n")?;
        let chassis = directory.join("chassis");
        std::fs::write(
            &chassis,
            format!(
                "#!/bin/sh\nexec '{}' chassis '{}' \"$@\"\n",
                xtask.display(),
                node.state.display()
            ),
        )?;
        std::fs::set_permissions(
            &chassis,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let lan = directory.join("lan.conf");
        std::fs::write(&lan, lan_conf(node, &chassis))?;
        let emulation = directory.join("bmc.emu");
        std::fs::write(&emulation, emulation_script(&directory))?;
        let source = directory.join("sensors.sdrs");
        std::fs::write(&source, SENSOR)?;
        output(
            command("sdrcomp")
                .arg("-o")
                .arg(sdr.join("sdr.20.main"))
                .arg(&source),
        )?;
        let mut program = command("ipmi_sim");
        program
            .arg("-n")
            .arg("-c")
            .arg(&lan)
            .arg("-f")
            .arg(&emulation)
            .arg("-s")
            .arg(directory.join("state"));
        program.current_dir("/");
        let mut daemon = Daemon::start("ipmi_sim", &mut program, &node.bmc_log)?;
        wait_for(
            &format!("the BMC of {}", node.name),
            Duration::from_secs(20),
            || {
                daemon.check()?;
                Ok(ipmitool(node, &["chassis", "power", "status"]).ok())
            },
        )?;
        Ok(Bmc { daemon })
    }

    /// Fails when the simulator has ended.
    pub fn check(&mut self) -> Result<()> {
        self.daemon.check()
    }
}

/// Runs `ipmitool` against a node's BMC, the way an operator does.
pub fn ipmitool(node: &Node, arguments: &[&str]) -> Result<String> {
    let mut tool = command("ipmitool");
    tool.args([
        "-I",
        "lanplus",
        "-C",
        "3",
        "-N",
        "1",
        "-R",
        "2",
        "-H",
        &node.bmc_address,
        "-U",
        USER,
        "-P",
        PASSWORD,
    ]);
    output(tool.args(arguments)).with_context(|| format!("the BMC of {}", node.name))
}

fn lan_conf(node: &Node, chassis: &Path) -> String {
    let Node {
        name,
        bmc_address,
        kcs_port,
        serial_port,
        index,
        ..
    } = node;
    let chassis: PathBuf = chassis.to_owned();
    format!(
        "name \"{name}\"\n\
         set_working_mc 0x20\n\
         startlan 1\n\
         addr {bmc_address} 623\n\
         priv_limit admin\n\
         allowed_auths_callback none md2 md5 straight\n\
         allowed_auths_user none md2 md5 straight\n\
         allowed_auths_operator none md2 md5 straight\n\
         allowed_auths_admin none md2 md5 straight\n\
         guid a123456789abcdefa123456789abcd{index:02x}\n\
         endlan\n\
         chassis_control \"{}\"\n\
         serial 15 127.0.0.1 {kcs_port} codec VM\n\
         sol \"tcp:127.0.0.1:{serial_port}\" 115200 history=8000\n\
         startnow false\n\
         user 1 false \"\" \"none\" user 10 none md2 md5 straight\n\
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n",
        chassis.display()
    )
}

fn emulation_script(directory: &Path) -> String {
    format!(
        "mc_setbmc 0x20\n\
         mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
         sel_enable 0x20 1000 0x0a\n\
         sensor_add 0x20 0 1 0x01 0x01 poll 1000 file \"{}/temperature\"\n\
         sensor_set_value 0x20 0 1 0x20 0\n\
         sensor_set_threshold 0x20 0 1 settable 111000 0xa0 0x90 0x70 00 00 00\n\
         sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 000111111000000 \
         000111111000000\n\
         mc_enable 0x20\n",
        directory.display()
    )
}
