//! The page in a real browser: it must load without a console error and without asking for anything else.
//! Afterwards the sample page and its picture lie in cargo's folder for test files, to be looked at.

mod report_sample;

use std::path::Path;
use std::process::Command;

use report_sample::Sample;

/// The names under which Chromium is installed.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn browser() -> &'static str {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    BROWSERS.into_iter().find(works).unwrap_or_else(|| panic!("no browser found; looked for {}", BROWSERS.join(", ")))
}

/// Opens a page, pictures it, and returns what the page had the browser say: errors, refused requests and
/// violations of its policy.
fn console(page: &Path, picture: &Path) -> Vec<String> {
    let profile = tempfile::tempdir().expect("a folder for the profile");
    let output = Command::new(browser())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
        ])
        .args(["--enable-logging=stderr", "--window-size=1280,4600"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("starting the browser");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs Chromium; scripts/test runs it"]
fn the_page_renders_without_errors_or_requests() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (page, picture) = (folder.join("sample-report.html"), folder.join("sample-report.png"));
    let written = Sample::full().run().expect("a report");
    std::fs::write(&page, &written.page).expect("writing the page");
    assert_eq!(console(&page, &picture), Vec::<String>::new());
    // A white picture of this size takes about 20 kB as PNG.
    assert!(std::fs::metadata(&picture).expect("a picture").len() > 100_000, "the picture is nearly empty");

    // The same page with something from outside: the browser must refuse it and say so, or the check above is blind.
    let outside = folder.join("sample-report-outside.html");
    let asking = written.page.replace(
        "<main>",
        "<main><img src=\"https://example.invalid/picture.png\"><script>document.title = 1</script>",
    );
    std::fs::write(&outside, asking).expect("writing the page");
    let refused = console(&outside, &folder.join("sample-report-outside.png"));
    assert_eq!(refused.iter().filter(|line| line.contains("Content Security Policy")).count(), 2, "{refused:?}");
}
