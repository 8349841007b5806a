//! Renders a page in a headless browser: document, measurements, screenshot and log.

use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// A browser that hangs is killed after this time.
const WATCHDOG: Duration = Duration::from_secs(180);

pub(super) const WIDTH: u32 = 1280;
pub(super) const HEIGHT: u32 = 8000;

/// The result of rendering a page.
pub(super) struct Rendered {
    /// The parsed document, serialised.
    pub(super) document: String,
    /// Measurements of `probe.js`.
    pub(super) found: Value,
    pub(super) picture: image::RgbImage,
    /// Console and network errors.
    pub(super) complaints: Vec<String>,
}

/// The preferred colour scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Light,
    Dark,
}

/// Renders `page` in a browser.
///
/// One script is added ahead of the page's policy, which would forbid it.
pub(super) fn render(page: &str, scheme: Scheme) -> Rendered {
    let Some(browser) = BROWSERS.iter().find(|path| Path::new(path).exists()) else {
        panic!("no browser: this test looks at the page in Chromium; on Debian, `apt-get install chromium` (looked for {BROWSERS:?})");
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let probed = page.replacen("<head>", &format!("<head><script>{}</script>", include_str!("probe.js")), 1);
    assert_ne!(probed, page, "the page has no head");
    fs::write(at("page.html"), probed).unwrap();
    // Blink's values: 0 is dark, 1 is light.
    let liked = if scheme == Scheme::Dark { 0 } else { 1 };
    let mut child = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            "--virtual-time-budget=2000",
        ])
        .args(["--enable-logging=stderr", "--v=0", "--disable-dev-shm-usage", "--dump-dom"])
        .arg(format!("--blink-settings=preferredColorScheme={liked}"))
        .arg(format!("--window-size={WIDTH},{HEIGHT}"))
        .arg(format!("--user-data-dir={}", at("profile").display()))
        .arg(format!("--screenshot={}", at("page.png").display()))
        .arg(format!("file://{}", at("page.html").display()))
        .stdin(Stdio::null())
        .stdout(File::create(at("document.html")).unwrap())
        .stderr(File::create(at("log.txt")).unwrap())
        .spawn()
        .unwrap();
    let from = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if from.elapsed() > WATCHDOG {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{browser} did not end:\n{}", fs::read_to_string(at("log.txt")).unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let log = String::from_utf8_lossy(&fs::read(at("log.txt")).unwrap()).into_owned();
    assert!(status.success(), "{browser}: {status}\n{log}");
    let document = fs::read_to_string(at("document.html")).unwrap();
    let picture = image::open(at("page.png")).unwrap_or_else(|e| panic!("no picture: {e}\n{log}")).to_rgb8();
    // For manual inspection: keeps page and screenshot in this folder.
    if let Some(kept) = std::env::var_os("DRIVEWAM_PAGE_PICTURES") {
        fs::create_dir_all(&kept).unwrap();
        let name = std::thread::current().name().unwrap_or("page").replace("::", "-");
        fs::copy(at("page.png"), Path::new(&kept).join(format!("{name}.png"))).unwrap();
        fs::write(Path::new(&kept).join(format!("{name}.html")), page).unwrap();
    }
    let complaint = |line: &&str| ["CONSOLE", "Uncaught", "ERR_", "Refused to"].iter().any(|sign| line.contains(sign));
    let found =
        document.split_once("id=\"probe\"").and_then(|(_, rest)| rest.split_once('>')).and_then(|(_, rest)| rest.split_once("</textarea>"));
    let (found, _) = found.unwrap_or_else(|| panic!("the probe wrote no result:\n{log}"));
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
    Rendered {
        found: serde_json::from_str(&found).unwrap(),
        document,
        picture,
        complaints: log.lines().filter(complaint).map(str::to_owned).collect(),
    }
}
