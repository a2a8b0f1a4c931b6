//! A Docker engine on the same host.

use super::*;

/// A Docker engine that has the test's host, and nothing of the machine's.
struct Docker {
    directory: std::path::PathBuf,
    daemon: Child,
}

impl Docker {
    fn start(host: &Host) -> Self {
        let directory = std::env::temp_dir().join(format!("pactown-docker-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("directory");
        let log = fs::File::create(directory.join("log")).expect("log");
        let at = |name: &str| directory.join(name).display().to_string();
        let daemon = Command::new("nsenter")
            .arg(format!("--net={}", host.inside.path().display()))
            .args([
                "dockerd",
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
            ])
            .args([
                "--host",
                &format!("unix://{}", at("socket")),
                "--storage-driver",
                "vfs",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd (package docker.io)");
        let mut docker = Self { directory, daemon };
        eventually("the engine answers", Duration::from_secs(60), || {
            let ended = docker.daemon.try_wait().expect("wait");
            assert!(
                ended.is_none(),
                "{}",
                fs::read_to_string(docker.directory.join("log")).expect("log")
            );
            docker.command(&["info"]).0
        });
        docker
    }

    fn command(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new("docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.directory.join("socket").display()))
            .args(words);
        let output = command.output().expect("docker");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// A container's way out: what Docker is for goes on.
    fn assert_works(&self, image: &str) {
        let script = format!(
            "import urllib.request as r; print(r.urlopen('http://{FAR}/', timeout=5).read().decode())"
        );
        let words = [
            "run",
            "--rm",
            "-v",
            "/usr:/usr:ro",
            image,
            "/usr/bin/python3",
            "-c",
            &script,
        ];
        assert_eq!(
            self.command(&words),
            (true, format!("{NEAR}\n")),
            "a container's way out"
        );
    }

    /// An image of nothing but places for the host's programs.
    fn image(&self) -> String {
        let root = self.directory.join("image");
        fs::create_dir_all(root.join("usr")).expect("directory");
        for name in ["bin", "lib", "lib64"] {
            let _ = std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name));
        }
        let archive = self.directory.join("image.tar");
        let tar = Command::new("tar")
            .args(["-C"])
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(tar.expect("tar").success());
        let (fine, text) = self.command(&["import", archive.to_str().expect("path"), "pactown-test"]);
        assert!(fine, "{text}");
        "pactown-test".to_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.directory.join("pid"))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        // Without the file it did not come so far as to have anything to end in order.
        let _ = match pid {
            Some(pid) => kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(std::io::Error::from),
            None => self.daemon.kill(),
        };
        let _ = self.daemon.wait();
        // Its own mounts, when it could not.
        let below = self.directory.display().to_string();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in table.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if point.starts_with(&below) {
                let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn docker_and_its_containers_go_on_as_before() {
    let machine = Machine::take();
    let host = Host::new();
    let docker = Docker::start(&host);
    let image = docker.image();
    docker.assert_works(&image);
    let rules = host.run("nft -s list ruleset");
    assert!(
        rules.contains("DOCKER-USER") && rules.contains("policy drop"),
        "{rules}"
    );
    assert_coexists(&host, "beside");
    // Started before or after: it is the same to both.
    let town = town(&host, "beside", "");
    town.ok(&["up", "-d"]);
    docker.assert_works(&image);
    drop(docker);
    let docker = Docker::start(&host);
    eventually("the way out is open again", Duration::from_secs(10), || {
        fetched(&town, "web", &format!("http://{FAR}/")) == NEAR
    });
    assert_works(&host, &town);
    town.ok(&["down"]);
    let image = docker.image();
    docker.assert_works(&image);
    let rules = host.run("nft -s list ruleset");
    assert!(!rules.contains("\"pt"), "{rules}");
    drop((town, docker));
    drop(host);
    machine.assert_clean();
}
