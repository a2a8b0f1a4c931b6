//! What the user wants to run: the validated ecosystem, its READMEs and who asked. Made by the CLI,
//! sent to the supervisor as JSON; everything later is computed from it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::config::Ecosystem;
use crate::config::ecosystem::{Egress, ServiceName};
use crate::instance::Instance;
use crate::lockfile::Lockfile;
use crate::markpact::Recipe;
use crate::secrets::Secrets;

/// The whole wish, self-contained: no file of the user's is read again after this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Which copy.
    pub instance: Instance,
    /// The configuration.
    pub ecosystem: Ecosystem,
    /// One recipe per service.
    pub recipes: IndexMap<ServiceName, Recipe>,
    /// Who asked.
    pub caller: Caller,
    /// Where dependencies come from.
    #[serde(default)]
    pub supply: Supply,
    /// The values of the secrets that are needed. Never written to disk.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
}

/// Where dependencies come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// The lock file beside the ecosystem file, when there is one.
    pub lock: Option<Lockfile>,
    /// What is not as it says is an error (`--locked`).
    pub locked: bool,
    /// Nothing is fetched (`--offline`).
    pub offline: bool,
    /// No service has a way out (`--hermetic`).
    #[serde(default)]
    pub hermetic: bool,
}

impl Desired {
    /// What `up` was asked for goes on for a wish that is read again: locked, offline, hermetic.
    pub fn supplied_as(mut self, present: &Supply) -> Self {
        let lock = self.supply.lock.take();
        self.supply = Supply {
            lock,
            ..present.clone()
        };
        self.close();
        self
    }

    /// Takes every service its way out, where that is asked for.
    pub fn close(&mut self) {
        if self.supply.hermetic {
            let services = self.ecosystem.services.values_mut();
            services.for_each(|service| service.egress = Egress::None);
        }
    }
}

impl Desired {
    /// What of it may be written down and shown: without the caller's environment and without values of secrets.
    pub fn without_values(&self) -> Self {
        let mut shown = self.clone();
        shown.caller.env.clear();
        shown.secrets = Secrets::default();
        shown
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::config::ecosystem::{Isolation, Limits, Place, Registry, Service};

    /// A wish without services.
    pub(crate) fn empty() -> Desired {
        let file = PathBuf::from("/p/saas.pactown.yaml");
        Desired {
            instance: Instance::new("town", Path::new("/p/saas.pactown.yaml"), None),
            ecosystem: Ecosystem {
                file,
                name: "town".into(),
                version: "0.1.0".into(),
                description: String::new(),
                base_port: 8000,
                sandbox_root: "/p/.pactown-sandboxes".into(),
                network: "pactown-net".into(),
                strict_ports: false,
                loopback_compat: true,
                isolation: Isolation::Strict,
                registry: Registry {
                    url: "http://localhost:8800".into(),
                    namespace: "default".into(),
                    token: None,
                },
                secrets: IndexMap::new(),
                limits: Limits::default(),
                services: IndexMap::new(),
                imports: Vec::new(),
            },
            recipes: IndexMap::new(),
            caller: Caller {
                uid: 0,
                gid: 0,
                user: "root".into(),
                home: "/root".into(),
                path: vec![],
                env: IndexMap::new(),
            },
            supply: Supply::default(),
            secrets: Secrets::default(),
        }
    }

    /// A service with nothing but its defaults.
    pub(crate) fn service(name: &str) -> Service {
        Service {
            name: name.to_owned(),
            place: Place::default(),
            readme: format!("/p/{name}/README.md").into(),
            readme_place: Place::default(),
            from: None,
            port: 8000,
            port_explicit: true,
            ports: vec![],
            env: IndexMap::new(),
            env_passthrough: vec![],
            depends_on: vec![],
            health: None,
            unchecked: false,
            timeout: Duration::from_secs(60),
            restart: crate::config::ecosystem::Restart::Proven,
            on_unhealthy: crate::config::ecosystem::OnUnhealthy::None,
            schedule: None,
            stop_signal: 15,
            stop_grace: Duration::from_secs(10),
            replicas: None,
            sandbox_path: None,
            volumes: vec![],
            mounts: vec![],
            limits: Limits::default(),
            egress: Egress::All,
            build_hosts: Vec::new(),
            host_access: vec![],
            run_as_root: false,
            toolchains: vec![],
            secrets: vec![],
            rootfs: None,
            pre_start: None,
            exceptions: crate::config::ecosystem::Exceptions::default(),
        }
    }
}
