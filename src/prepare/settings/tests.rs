//! Settings of made-up users.

use super::*;

fn caller(home: &Path, env: &[(&str, &str)]) -> Caller {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Caller {
        uid: 1000,
        gid: 1000,
        user: "ann".into(),
        home: home.into(),
        path: vec![],
        env,
    }
}

/// A home with a pip.conf, an .npmrc that only its owner can read, and a directory of wheels.
fn home() -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let home = std::env::temp_dir().join(format!("pactown-settings-{}", std::process::id()));
    fs::create_dir_all(home.join(".config/pip")).unwrap();
    fs::create_dir_all(home.join("wheels")).unwrap();
    let conf = format!(
        "[global]\nindex-url = https://ann:secret@pip.example/simple\ncache-dir = /x\nfind-links =\n    {}\n",
        home.join("wheels").display()
    );
    fs::write(home.join(".config/pip/pip.conf"), conf).unwrap();
    let npmrc = "registry=https://npm.example/\n//npm.example/:_authToken=${NPM_TOKEN}\n";
    fs::write(home.join(".npmrc"), npmrc).unwrap();
    fs::set_permissions(home.join(".npmrc"), fs::Permissions::from_mode(0o600)).unwrap();
    home
}

#[test]
fn the_users_files_and_variables_reach_the_build_without_places_and_secrets() {
    let home = home();
    let env = [
        ("NPM_TOKEN", "t0ken"),
        ("https_proxy", "http://127.0.0.1:3128"),
        ("PIP_INDEX_URL", "http://127.0.0.1:3141/root"),
        ("PIP_TARGET", "/y"),
        ("PACTOWN_PIP_EXTRA_INDEX_URL", "https://two.example/simple"),
        ("AWS_SECRET_ACCESS_KEY", "no"),
    ];
    let settings = collect(&caller(&home, &env));
    let get = |name: &str| {
        settings
            .env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(get("NPM_TOKEN"), Some("t0ken"));
    assert_eq!(get("PIP_CONFIG_FILE"), Some("/etc/build/pip.conf"));
    assert_eq!(get("NPM_CONFIG_USERCONFIG"), Some("/etc/build/npmrc"));
    assert_eq!(get("PIP_EXTRA_INDEX_URL"), Some("https://two.example/simple"));
    assert_eq!((get("PIP_TARGET"), get("AWS_SECRET_ACCESS_KEY")), (None, None));
    assert!(
        settings
            .pip
            .contains(&"index-url=https://pip.example/simple".to_owned()),
        "{:?}",
        settings.pip
    );
    assert!(
        settings.npm.contains(&"registry=https://npm.example/".to_owned()),
        "{:?}",
        settings.npm
    );
    assert_eq!(settings.directories, [home.join("wheels")]);
    let conf = &settings.files[Path::new("/etc/build/pip.conf")];
    assert!(conf.contains("secret@") && !conf.contains("cache-dir"));
    assert!(
        settings.notices[0].contains("`PIP_INDEX_URL` names 127.0.0.1:3141"),
        "{:?}",
        settings.notices
    );
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn certificates_are_copied_and_system_paths_left_alone() {
    let home = std::env::temp_dir().join(format!("pactown-certs-{}", std::process::id()));
    fs::create_dir_all(&home).unwrap();
    let cert = home.join("ca.pem");
    fs::write(&cert, "CERT").unwrap();
    let settings = collect(&caller(
        &home,
        &[
            ("PIP_CERT", cert.to_str().unwrap()),
            ("PIP_FIND_LINKS", "/opt /etc /"),
        ],
    ));
    assert_eq!(settings.files[&cert], "CERT");
    assert!(settings.directories.is_empty());
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_proxy_of_the_configuration_is_asked_by_ours_and_not_by_the_build() {
    let home = std::env::temp_dir().join(format!("pactown-proxied-{}", std::process::id()));
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join(".npmrc"), "https-proxy=http://corp.example:3128\n").unwrap();
    let ann = caller(&home, &[("NPM_CONFIG_NOPROXY", "x.example")]);
    let settings = collect(&ann);
    assert_eq!(settings.files[Path::new("/etc/build/npmrc")], "");
    assert!(settings.env.iter().all(|(name, _)| name != "NPM_CONFIG_NOPROXY"));
    assert_eq!(proxies(&ann)["https_proxy"], "http://corp.example:3128");
    let own = caller(&home, &[("HTTPS_PROXY", "http://other.example")]);
    assert_eq!(
        proxies(&own).get("https_proxy"),
        None,
        "the environment's own stays"
    );
    fs::remove_dir_all(&home).unwrap();
}
