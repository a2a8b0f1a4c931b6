//! The programs: what each needs, what it does, and how it is edited. Data.

use super::SERVICE;
use super::asks::{self, Ask};
use crate::support::town::Town;

/// One README of `tests/fixtures/workloads`.
pub(super) struct Program {
    /// Its file without `.md`.
    pub(super) name: &'static str,
    /// Programs that must be on the host.
    pub(super) needs: &'static [&'static str],
    /// It installs packages, which takes its time.
    pub(super) installs: bool,
    /// What it does.
    pub(super) work: Work,
    /// How it gets its second edition.
    pub(super) edit: Edit,
    /// What else must hold then.
    pub(super) after: fn(&Town),
}

/// What a program does.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// It answers on a port.
    Serves(u16, Ask),
    /// It ends with 0 and has written the edition to `/app/out`.
    Makes,
}

/// Where the edit is made.
#[derive(Clone, Copy)]
pub(super) enum Edit {
    /// In its README.
    Readme,
    /// In a file of the running sandbox that it watches.
    Inside(&'static str),
}

const PORT: u16 = 8400;
const HTTP: Work = Work::Serves(PORT, asks::http);

const fn program(name: &'static str, needs: &'static [&'static str], work: Work) -> Program {
    Program {
        name,
        needs,
        installs: false,
        work,
        edit: Edit::Readme,
        after: nothing,
    }
}

const fn installing(name: &'static str, needs: &'static [&'static str], work: Work, edit: Edit) -> Program {
    Program {
        name,
        needs,
        installs: true,
        work,
        edit,
        after: nothing,
    }
}

fn nothing(_: &Town) {}

/// All of them.
pub(super) const PROGRAMS: &[Program] = &[
    program("python-http-server", &["python3"], HTTP),
    installing("uvicorn", &["python3"], HTTP, Edit::Inside("main.py")),
    installing("flask", &["python3"], HTTP, Edit::Inside("app.py")),
    Program {
        after: five_processes,
        ..installing(
            "gunicorn",
            &["python3"],
            Work::Serves(PORT, asks::workers),
            Edit::Readme,
        )
    },
    installing("django", &["python3"], HTTP, Edit::Inside("manage.py")),
    installing("pip-sdist", &["python3", "gcc"], Work::Makes, Edit::Readme),
    installing("venv", &["python3"], Work::Makes, Edit::Readme),
    program("sqlite-wal", &["python3"], HTTP),
    program("node-http", &["node"], HTTP),
    installing("express", &["node", "npm"], HTTP, Edit::Readme),
    installing("npm-ci", &["node", "npm"], Work::Makes, Edit::Readme),
    installing(
        "vite",
        &["node", "npm"],
        Work::Serves(PORT, asks::module),
        Edit::Inside("edition.ts"),
    ),
    installing("esbuild", &["node", "npm"], Work::Makes, Edit::Readme),
    installing("nodemon-tsx", &["node", "npm"], HTTP, Edit::Inside("server.ts")),
    program("node-workers", &["node"], Work::Serves(PORT, asks::a_few)),
    installing("go-http", &["python3"], HTTP, Edit::Readme),
    installing("cargo-axum", &["cargo"], HTTP, Edit::Readme),
    installing("bun", &["node", "npm"], HTTP, Edit::Readme),
    Program {
        after: postgres_kept,
        ..program(
            "postgresql",
            &["initdb", "postgres", "psql"],
            Work::Serves(PORT, asks::postgres),
        )
    },
    Program {
        after: redis_kept,
        ..program("redis", &["redis-server"], Work::Serves(PORT, asks::redis))
    },
    program("nginx", &["nginx"], HTTP),
    program("memcached", &["memcached"], Work::Serves(PORT, asks::memcached)),
    program("java-http", &["javac"], HTTP),
    program("bash-jobs", &["bash"], Work::Makes),
    program("git-clone", &["git"], Work::Makes),
    Program {
        after: no_way_back,
        ..program("ping", &["ping"], Work::Makes)
    },
    installing(
        "websocket",
        &["node", "npm"],
        Work::Serves(PORT, asks::websocket),
        Edit::Readme,
    ),
    program(
        "server-sent-events",
        &["python3"],
        Work::Serves(PORT, asks::events),
    ),
    program("port-80", &["python3"], Work::Serves(80, asks::http)),
];

fn five_processes(town: &Town) {
    let ask = "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | wc -l";
    // A master, four workers, and the three processes that ask.
    let count: u32 = town.inside(SERVICE, ask).parse().expect("a number");
    assert!((6..=9).contains(&count), "{count} processes");
}

/// What the first edition stored is still there, in the second's files.
fn redis_kept(town: &Town) {
    assert_eq!(
        asks::redis_get(&town.address(SERVICE), "of first edition").as_deref(),
        Ok("100")
    );
}

fn postgres_kept(town: &Town) {
    let count = asks::psql(
        &town.address(SERVICE),
        "SELECT count(*) FROM rows WHERE edition = 'first edition'",
    );
    assert_eq!(count.as_deref(), Ok("100"));
}

/// Who does not depend on a sandbox gets no answer from it, also while that one lives and gets its own.
fn no_way_back(town: &Town) {
    town.edit(
        "saas.pactown.yaml",
        "  peer: {readme: peer.md}\n",
        "  peer: {readme: peer.md}\n  sleeper: {readme: peer.md, depends_on: [peer]}\n",
    );
    town.ok(&["up", "-d"]);
    let ping = |from: &str, to: &str| {
        let address = town.service(to)["address"]
            .as_str()
            .expect("an address")
            .to_owned();
        town.inside(from, &format!("ping -c 1 -W 1 {address} >/dev/null; echo $?"))
    };
    assert_eq!((&*ping("sleeper", "peer"), &*ping("peer", "sleeper")), ("0", "1"));
}
