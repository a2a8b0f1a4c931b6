//! The dependency graph of an ecosystem: edges point from a service to what it needs.

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::config::Ecosystem;
use crate::config::ecosystem::{Condition, Dependency, Place, Restart, ServiceName};
use crate::desired::Desired;
use crate::diagnostics::{Problem, Problems, Severity};
use crate::markpact::Recipe;
use crate::markpact::recipe::WorkloadKind;

/// The services of an ecosystem and their dependencies on each other; without cycles.
#[derive(Debug, Clone)]
pub struct Graph {
    graph: DiGraph<ServiceName, Place>,
}

impl Graph {
    /// The graph of `ecosystem`. Dependencies on something outside of it (an `endpoint`) have no edge.
    ///
    /// # Errors
    /// Every cycle, as `a → b → a` with the lines of its edges; everything that would wait for a scheduled job.
    pub fn of(ecosystem: &Ecosystem) -> Result<Self, Problems> {
        let mut graph = DiGraph::new();
        let nodes: Vec<NodeIndex> = ecosystem
            .services
            .keys()
            .map(|name| graph.add_node(name.clone()))
            .collect();
        for (index, service) in ecosystem.services.values().enumerate() {
            for dependency in &service.depends_on {
                if let Some(needed) = ecosystem.services.get_index_of(&dependency.name) {
                    graph.add_edge(nodes[index], nodes[needed], dependency.place);
                }
            }
        }
        let graph = Self { graph };
        let mut problems = graph.cycles(ecosystem);
        problems.extend(waits_for_the_clock(ecosystem));
        if problems.is_empty() {
            Ok(graph)
        } else {
            Err(Problems(problems))
        }
    }

    /// One problem per group of services that need each other.
    fn cycles(&self, ecosystem: &Ecosystem) -> Vec<Problem> {
        let knotted =
            |group: &Vec<NodeIndex>| group.len() > 1 || self.graph.contains_edge(group[0], group[0]);
        let mut groups: Vec<Vec<NodeIndex>> = tarjan_scc(&self.graph).into_iter().filter(knotted).collect();
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort();
        groups
            .iter()
            .map(|group| self.problem(group, ecosystem))
            .collect()
    }

    fn problem(&self, group: &[NodeIndex], ecosystem: &Ecosystem) -> Problem {
        let ring = self.ring(group);
        let names: Vec<&str> = ring
            .iter()
            .map(|(node, _)| self.graph[*node].as_str())
            .chain([self.graph[ring[0].0].as_str()])
            .collect();
        let lines: Vec<String> = ring.iter().map(|(_, place)| place.line.to_string()).collect();
        Problem {
            severity: Severity::Error,
            file: ecosystem.file.clone(),
            place: ring[0].1,
            length: 1,
            message: format!("services need each other: {}", names.join(" → ")),
            help: Some(format!(
                "take one of these dependencies away (lines {})",
                lines.join(", ")
            )),
            source: None,
        }
    }

    /// A shortest way from the group's first service back to itself, each with the place of its edge to the next.
    fn ring(&self, group: &[NodeIndex]) -> Vec<(NodeIndex, Place)> {
        let start = group[0];
        let mut ways = std::collections::VecDeque::from([vec![]]);
        let mut seen = std::collections::HashSet::new();
        while let Some(way) = ways.pop_front() {
            let at = way
                .last()
                .map_or(start, |(_, _, to): &(NodeIndex, Place, NodeIndex)| *to);
            for edge in self.graph.edges(at).filter(|edge| group.contains(&edge.target())) {
                let mut longer = way.clone();
                longer.push((at, *edge.weight(), edge.target()));
                if edge.target() == start {
                    return longer.into_iter().map(|(node, place, _)| (node, place)).collect();
                }
                if seen.insert(edge.target()) {
                    ways.push_back(longer);
                }
            }
        }
        vec![(start, Place::default())]
    }

    /// Services that can start at the same time, in groups: each after all that it needs. Within a group in the
    /// file's order.
    pub fn waves(&self) -> Vec<Vec<ServiceName>> {
        let mut waves: Vec<Vec<ServiceName>> = Vec::new();
        let mut depths = vec![None; self.graph.node_count()];
        for node in self.graph.node_indices() {
            let depth = self.depth(node, &mut depths);
            waves.resize_with(waves.len().max(depth + 1), Vec::new);
            waves[depth].push(self.graph[node].clone());
        }
        waves
    }

    fn depth(&self, node: NodeIndex, known: &mut [Option<usize>]) -> usize {
        if let Some(depth) = known[node.index()] {
            return depth;
        }
        let needs: Vec<NodeIndex> = self.graph.neighbors(node).collect();
        let depth = needs
            .into_iter()
            .map(|need| self.depth(need, known) + 1)
            .max()
            .unwrap_or(0);
        known[node.index()] = Some(depth);
        depth
    }

    /// Every service after all that it needs.
    pub fn start_order(&self) -> Vec<ServiceName> {
        self.waves().into_iter().flatten().collect()
    }

    /// Every service before all that it needs.
    pub fn stop_order(&self) -> Vec<ServiceName> {
        let mut order = self.start_order();
        order.reverse();
        order
    }

    /// `names` and everything that they need, in start order. Unknown names are left out.
    pub fn with_needs(&self, names: &[ServiceName]) -> Vec<ServiceName> {
        self.reached(names, Direction::Outgoing)
    }

    /// `names` and everything that needs them, in start order.
    pub fn with_dependents(&self, names: &[ServiceName]) -> Vec<ServiceName> {
        self.reached(names, Direction::Incoming)
    }

    fn reached(&self, names: &[ServiceName], direction: Direction) -> Vec<ServiceName> {
        let mut open: Vec<NodeIndex> = self
            .graph
            .node_indices()
            .filter(|node| names.contains(&self.graph[*node]))
            .collect();
        let mut found = std::collections::HashSet::new();
        while let Some(node) = open.pop() {
            if found.insert(node) {
                open.extend(self.graph.neighbors_directed(node, direction));
            }
        }
        let wanted = |name: &ServiceName| found.iter().any(|node| self.graph[*node] == *name);
        self.start_order().into_iter().filter(wanted).collect()
    }
}

/// Dependencies on jobs that the clock starts: whoever waited for one could wait for a year.
fn waits_for_the_clock(ecosystem: &Ecosystem) -> impl Iterator<Item = Problem> {
    let scheduled = |dependency: &&Dependency| {
        let needed = ecosystem.services.get(&dependency.name);
        needed.is_some_and(|service| service.schedule.is_some())
    };
    let problem = |dependency: &Dependency| Problem {
        severity: Severity::Error,
        file: ecosystem.file.clone(),
        place: dependency.place,
        length: dependency.name.len(),
        message: format!(
            "nothing can wait for '{}': it is run on a schedule",
            dependency.name
        ),
        help: Some("take it out of 'depends_on', or its 'schedule' away".to_owned()),
        source: None,
    };
    let services = ecosystem.services.values();
    services
        .flat_map(|service| &service.depends_on)
        .filter(scheduled)
        .map(problem)
}

/// When `dependency` counts: as written, else healthy with a check, completed for a job, started otherwise.
pub fn condition(dependency: &Dependency, ecosystem: &Ecosystem, recipe: Option<&Recipe>) -> Condition {
    let by_kind = || {
        let checked = ecosystem
            .services
            .get(&dependency.name)
            .is_some_and(|service| service.health.is_some());
        match recipe.map(|recipe| recipe.workload.kind) {
            Some(WorkloadKind::Job) => Condition::Completed,
            _ if checked => Condition::Healthy,
            _ => Condition::Started,
        }
    };
    dependency.condition.unwrap_or_else(by_kind)
}

/// When `name` is started again: its key of the ecosystem file wins over its README's `workload` block.
pub fn restart_policy(desired: &Desired, name: &str) -> Restart {
    let written = desired
        .ecosystem
        .services
        .get(name)
        .map(|service| service.restart);
    let own = desired
        .recipes
        .get(name)
        .and_then(|recipe| recipe.workload.restart);
    match written.unwrap_or_default() {
        Restart::Proven => own.unwrap_or_default(),
        written => written,
    }
}

/// Whether `name` ends by itself: its README says so, it is run on a schedule, or somebody waits for its completion.
pub fn is_job(desired: &Desired, name: &str) -> bool {
    let service = desired.ecosystem.services.get(name);
    if service.is_some_and(|service| service.schedule.is_some()) {
        return true;
    }
    let declared = desired
        .recipes
        .get(name)
        .is_some_and(|recipe| recipe.workload.kind == WorkloadKind::Job);
    let awaited = |dependency: &Dependency| {
        dependency.name == name && dependency.condition == Some(Condition::Completed)
    };
    let services = desired.ecosystem.services.values();
    declared || services.flat_map(|service| &service.depends_on).any(awaited)
}
