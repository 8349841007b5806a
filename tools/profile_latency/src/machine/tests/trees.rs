//! Recorded machines: file trees with the content that real boards show.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A recorded machine in a temporary folder.
pub(super) struct Recorded(TempDir);

impl Recorded {
    /// An empty machine.
    pub(super) fn new() -> Recorded {
        Recorded(tempfile::tempdir().unwrap())
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and creates its parent folders.
    pub(super) fn put(&self, path: &str, content: impl AsRef<[u8]>) -> &Recorded {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Replaces a file by a folder, which cannot be read as a file, not even by root.
    pub(super) fn block(&self, path: &str) -> &Recorded {
        let path = self.root().join(path);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path).unwrap();
        self
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.root().join(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// A channel of a power monitor.
    pub(super) fn channel(&self, monitor: &str, channel: u8, label: &str, millivolts: i64, milliamperes: i64) -> &Recorded {
        self.put(&format!("{monitor}/in{channel}_label"), format!("{label}\n"));
        self.put(&format!("{monitor}/in{channel}_enable"), "1\n");
        self.put(&format!("{monitor}/in{channel}_input"), format!("{millivolts}\n"));
        self.put(&format!("{monitor}/curr{channel}_input"), format!("{milliamperes}\n"))
    }

    /// A thermal zone.
    pub(super) fn zone(&self, number: u8, name: &str, millidegrees: &str) -> &Recorded {
        self.put(&format!("sys/class/thermal/thermal_zone{number}/type"), format!("{name}\n"));
        self.put(&format!("sys/class/thermal/thermal_zone{number}/temp"), format!("{millidegrees}\n"))
    }

    /// A clock domain of the CPUs: governor, and current, lowest, highest and the hardware's clock
    /// in kHz.
    pub(super) fn policy(&self, number: u8, governor: &str, khz: [u64; 4]) -> &Recorded {
        let folder = format!("sys/devices/system/cpu/cpufreq/policy{number}");
        self.put(&format!("{folder}/scaling_governor"), format!("{governor}\n"));
        for (file, clock) in ["scaling_cur_freq", "scaling_min_freq", "scaling_max_freq", "cpuinfo_max_freq"].iter().zip(khz) {
            self.put(&format!("{folder}/{file}"), format!("{clock}\n"));
        }
        self
    }

    /// A clock domain of a Jetson's GPU: governor, and current, lowest and highest clock in Hz.
    pub(super) fn gpu_clock(&self, name: &str, governor: &str, hz: [u64; 3]) -> &Recorded {
        let folder = format!("sys/class/devfreq/{name}");
        self.put(&format!("{folder}/governor"), format!("{governor}\n"));
        for (file, clock) in ["cur_freq", "min_freq", "max_freq"].iter().zip(hz) {
            self.put(&format!("{folder}/{file}"), format!("{clock}\n"));
        }
        self
    }

    /// The files of any Linux machine.
    fn linux(&self, os: &str, kernel: &str, cpuinfo: &str, cpus: [&str; 2], kib: [u64; 2]) -> &Recorded {
        self.put("etc/os-release", format!("NAME=\"Linux\"\nPRETTY_NAME=\"{os}\"\nVERSION_ID=\"1\"\n"));
        self.put("proc/sys/kernel/osrelease", format!("{kernel}\n"));
        self.put("proc/cpuinfo", cpuinfo);
        self.put("sys/devices/system/cpu/online", format!("{}\n", cpus[0]));
        self.put("sys/devices/system/cpu/present", format!("{}\n", cpus[1]));
        self.put("proc/loadavg", "0.52 0.40 0.31 2/345 6789\n");
        self.put("proc/stat", "cpu  1000 0 500 8000 10 0 5 0 0 0\ncpu0 1000 0 500 8000 10 0 5 0 0 0\nctxt 123456\n");
        self.put("proc/self/status", "Name:\tride\nvoluntary_ctxt_switches:\t10\nnonvoluntary_ctxt_switches:\t2\n");
        let [total, available] = kib;
        self.put("proc/meminfo", format!("MemTotal:       {total} kB\nMemFree:        1024 kB\nMemAvailable:   {available} kB\n"))
    }

    /// Every file of the machine.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.root().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

/// `cpuinfo` as on L4T, with a model name that fits any Arm CPU.
fn arm(cpus: u8, part: &str) -> String {
    let block = |cpu| {
        format!(
            "processor\t: {cpu}\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
        )
    };
    (0..cpus).map(block).collect()
}

const MODES: &str = "# comment\n< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys/devices/system/cpu/cpu0/online\n\n\
    < POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=MODE_15W >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n\
    < POWER_MODEL ID=20 NAME=MODE_50W >\n< PM_CONFIG DEFAULT=2 >\n";

/// A Jetson AGX Orin at 30 W: eight of twelve CPUs online, two power monitors.
pub(super) fn orin_agx() -> Recorded {
    let tree = Recorded::new();
    tree.linux("Ubuntu 22.04.5 LTS", "5.15.148-tegra", &arm(8, "0xd42"), ["0-7", "0-11"], [64_349_876, 58_000_000]);
    tree.put("proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0");
    tree.put(
        "etc/nv_tegra_release",
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n# KERNEL_VARIANT: oot\n",
    );
    tree.put("var/lib/nvpmodel/status", "pmode:0002\n").put("etc/nvpmodel.conf", MODES);
    for policy in [0, 4] {
        tree.policy(policy, "schedutil", [1_190_400, 729_600, 1_728_000, 2_201_600]);
    }
    tree.gpu_clock("17000000.gpu", "nvhost_podgov", [306_000_000, 306_000_000, 612_000_000]);
    tree.gpu_clock("15340000.vic", "tegra_wmark", [115_200_000, 115_200_000, 729_600_000]);
    tree.zone(0, "cpu-thermal", "48062").zone(1, "gpu-thermal", "44437").zone(10, "tj-thermal", "48718");
    for (event, count) in [(1, 0), (2, 15), (3, 37)] {
        tree.put(&format!("sys/class/hwmon/hwmon2/oc{event}_event_cnt"), format!("{count}\n"));
    }
    tree.put("sys/class/hwmon/hwmon2/name", "soctherm_oc\n");
    let first = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3";
    tree.channel(first, 1, "VDD_GPU_SOC", 19_984, 160).channel(first, 2, "VDD_CPU_CV", 19_984, 40).channel(
        first,
        3,
        "VIN_SYS_5V0",
        4_968,
        888,
    );
    for shunt in 4..=6 {
        tree.put(&format!("{first}/in{shunt}_input"), "320\n");
    }
    tree.put(&format!("{first}/in7_label"), "sum of shunt voltages\n").put(&format!("{first}/in7_input"), "760\n");
    tree.put(&format!("{first}/curr4_input"), "200\n").put(&format!("{first}/name"), "ina3221\n");
    let second = "sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4";
    tree.channel(second, 1, "NC", 0, 0).channel(second, 2, "VDDQ_VDD2_1V8AO", 4_968, 102).channel(second, 3, "NC", 0, 0);
    for file in ["bind", "unbind", "uevent"] {
        tree.put(&format!("sys/bus/i2c/drivers/ina3221/{file}"), "");
    }
    tree
}

/// A Jetson Orin NX, whose first rail measures the whole input.
pub(super) fn orin_nx() -> Recorded {
    let tree = Recorded::new();
    tree.linux("Ubuntu 22.04.5 LTS", "5.15.148-tegra", &arm(8, "0xd42"), ["0-7", "0-7"], [16_000_000, 12_000_000]);
    tree.put("proc/device-tree/model", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0");
    tree.put("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n").put("var/lib/nvpmodel/status", "pmode:0000 fmode:quiet\n");
    tree.put("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN_SUPER >\n");
    tree.policy(0, "performance", [1_984_000, 1_984_000, 1_984_000, 1_984_000]).zone(0, "cpu-thermal", "63625");
    tree.gpu_clock("17000000.ga10b", "nvhost_podgov", [306_000_000, 306_000_000, 918_000_000]);
    let monitor = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1";
    tree.channel(monitor, 1, "VDD_IN", 4_984, 1_856)
        .channel(monitor, 2, "VDD_CPU_GPU_CV", 4_984, 420)
        .channel(monitor, 3, "VDD_SOC", 4_984, 500);
    tree
}

/// A Jetson AGX Thor with a sleeping GPU: its rail shows the monitor's offset, its zone cannot be
/// read. Another chip monitors the input.
pub(super) fn thor() -> Recorded {
    let tree = Recorded::new();
    tree.linux("Ubuntu 24.04.3 LTS", "6.8.12-tegra", &arm(14, "0xd83"), ["0-13", "0-13"], [128_840_000, 120_000_000]);
    tree.put("proc/device-tree/model", "NVIDIA Jetson AGX Thor Developer Kit\0");
    tree.put("etc/nv_tegra_release", "# R38 (release), REVISION: 2.1\n").put("var/lib/nvpmodel/status", "pmode:0000\n");
    tree.put("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n");
    tree.policy(0, "schedutil", [1_000_000, 500_000, 2_601_000, 2_601_000]);
    for domain in ["gpu-gpc-0", "gpu-nvd-0"] {
        tree.gpu_clock(domain, "nvhost_podgov", [0, 315_000_000, 1_575_000_000]);
    }
    tree.zone(0, "tj-thermal", "55100").zone(1, "gpu-thermal", "0").block("sys/class/thermal/thermal_zone1/temp");
    let monitor = "sys/bus/i2c/drivers/ina3221/2-0040/hwmon/hwmon3";
    tree.channel(monitor, 1, "VDD_GPU", 19_600, -20).channel(monitor, 2, "VDD_CPU_SOC_MSS", 19_600, 332);
    tree.channel(monitor, 3, "VIN_SYS_5V0", 4_940, 1_320).put("sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon4/power1_input", "23040000\n");
    tree
}

/// A laptop: no rails, a name in the firmware, a CPU limit.
pub(super) fn laptop() -> Recorded {
    let tree = Recorded::new();
    let block = |cpu| {
        format!("processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: 12th Gen Intel(R) Core(TM) i7-1260P\ncpu MHz\t: 2100.000\n\n")
    };
    tree.linux(
        "Debian GNU/Linux 12 (bookworm)",
        "6.1.0-21-amd64",
        &(0..4).map(block).collect::<String>(),
        ["0-3", "0-3"],
        [16_000_000, 9_000_000],
    );
    tree.put("sys/class/dmi/id/sys_vendor", "LENOVO\n").put("sys/class/dmi/id/product_name", "21BNCTO1WW\n");
    for cpu in 0..4_u8 {
        tree.policy(cpu, "powersave", [1_000_000 + 1000 * u64::from(cpu), 400_000, 4_700_000, 4_700_000]);
        tree.put(&format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count"), format!("{}\n", 3 + cpu));
        tree.put(&format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/package_throttle_count"), "12\n");
    }
    tree.zone(0, "acpitz", "27800").zone(1, "x86_pkg_temp", "61000");
    tree.put("sys/class/hwmon/hwmon0/name", "acpitz\n").put("sys/class/hwmon/hwmon0/in1_label", "VDD\n");
    tree.put("proc/self/cgroup", "0::/user.slice/run.scope\n");
    tree.put("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n").put("sys/fs/cgroup/user.slice/run.scope/cpu.max", "max 100000\n");
    tree
}

/// A virtual machine without sensors.
pub(super) fn vm() -> Recorded {
    let tree = Recorded::new();
    let block = |cpu| format!("processor\t: {cpu}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n\n");
    tree.linux(
        "Debian GNU/Linux 12 (bookworm)",
        "6.18.44",
        &(0..2).map(block).collect::<String>(),
        ["0-1", "0-1"],
        [24_000_000, 20_000_000],
    );
    fs::create_dir_all(tree.root().join("sys/devices/system/cpu/cpufreq")).unwrap();
    fs::create_dir_all(tree.root().join("sys/class/thermal")).unwrap();
    tree
}
