//! What must have come before what, and cycles of it.
//!
//! | edge | from | to |
//! |---|---|---|
//! | `ww` | who wrote a version | who wrote the next |
//! | `wr` | who wrote a version | who read it |
//! | `rw` | who read a version | who wrote the next |
//! | `rt` | who had ended | who began after that |
//!
//! At snapshot isolation a cycle needs two `rw` one after another. So each other edge is drawn together with the `rw`
//! that follows it, if one does: a cycle of such pairs is a cycle that snapshot isolation forbids, and there is none
//! other (Cerone and Gotsman, *Analysing Snapshot Isolation*, 2018).
//!
//! The order of time is a chain of moments, one for each end; who ended points to its moment, and the last moment before
//! a beginning to who began. So it takes as many edges as there are transactions.

use std::collections::VecDeque;

use super::versions::Versions;
use super::{Anomaly, Found};
use crate::isolation::history::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Ww,
    Wr,
    Rw,
    Rt,
}

type Node = u32;

/// A step of a cycle, by one edge or by an edge and the `rw` after it.
#[derive(Debug, Clone, Copy)]
struct Hop {
    edge: Edge,
    then: Option<Node>,
    to: Node,
}

struct Graph {
    out: Vec<Vec<Hop>>,
}

/// The worst cycle among the transactions: that of which the fewest levels permit the like.
pub(super) fn worst_cycle(versions: &Versions<'_>) -> Option<Found> {
    let all = edges(versions);
    let kinds: [(&[Edge], bool); 4] = [
        (&[Edge::Ww], false),
        (&[Edge::Ww, Edge::Wr], false),
        (&[Edge::Ww, Edge::Wr, Edge::Rw], true),
        (&[Edge::Ww, Edge::Wr, Edge::Rw], false),
    ];
    for (kept, is_paired) in kinds {
        for in_time in [false, true] {
            let is_kept = |edge: Edge| kept.contains(&edge) || (in_time && edge == Edge::Rt);
            let graph = if is_paired { all.only(is_kept).paired() } else { all.only(is_kept) };
            if let Some(cycle) = graph.cycle() {
                return Some(describe(versions, &cycle));
            }
        }
    }
    None
}

fn edges(versions: &Versions<'_>) -> Graph {
    let transactions = versions.transactions;
    let mut graph = Graph { out: vec![Vec::new(); transactions.len()] };
    for (from, to) in versions.overwrites() {
        graph.add(from, Edge::Ww, to);
    }
    for read in &versions.reads {
        let last = read.found.last().copied();
        if let Some(writer) = last.and_then(|last| versions.writer(read.key, last)) {
            graph.add(writer, Edge::Wr, read.transaction);
        }
        // In a tree of versions nobody knows which of the next ones came first.
        if read.is_pure && versions.promise.appends_exclude_each_other {
            for writer in versions.successors(read.key, last) {
                graph.add(read.transaction, Edge::Rw, writer);
            }
        }
    }
    let mut ends: Vec<(u64, usize)> = transactions
        .iter()
        .enumerate()
        .filter(|(_, one)| one.outcome == Outcome::Committed)
        .map(|(number, one)| (one.ended, number))
        .collect();
    ends.sort_unstable();
    let first = graph.out.len();
    graph.out.resize(first + ends.len(), Vec::new());
    for (place, (_, number)) in ends.iter().enumerate() {
        graph.add(*number, Edge::Rt, first + place);
        if place > 0 {
            graph.add(first + place - 1, Edge::Rt, first + place);
        }
    }
    for (number, transaction) in transactions.iter().enumerate() {
        let before = ends.partition_point(|(ended, _)| *ended < transaction.began);
        if before > 0 {
            graph.add(first + before - 1, Edge::Rt, number);
        }
    }
    graph
}

impl Graph {
    fn add(&mut self, from: usize, edge: Edge, to: usize) {
        if from != to {
            self.out[from].push(Hop { edge, then: None, to: to as Node });
        }
    }

    fn only(&self, keeps: impl Fn(Edge) -> bool) -> Self {
        let kept = |hops: &Vec<Hop>| hops.iter().filter(|hop| keeps(hop.edge)).copied().collect();
        Self { out: self.out.iter().map(kept).collect() }
    }

    /// Each edge but `rw`, alone and together with each `rw` after it.
    fn paired(&self) -> Self {
        let mut out = vec![Vec::new(); self.out.len()];
        for (from, hops) in self.out.iter().enumerate() {
            for hop in hops.iter().filter(|hop| hop.edge != Edge::Rw) {
                out[from].push(*hop);
                let rw = self.out[hop.to as usize].iter().filter(|next| next.edge == Edge::Rw);
                out[from].extend(rw.map(|next| Hop { edge: hop.edge, then: Some(hop.to), to: next.to }));
            }
        }
        Self { out }
    }

    /// A shortest cycle through one of the nodes that are on any.
    fn cycle(&self) -> Option<Vec<(Node, Hop)>> {
        let component = self.components();
        let starts = (0..self.out.len())
            .filter(|from| self.out[*from].iter().any(|hop| component[hop.to as usize] == component[*from]));
        let cycles = starts.take(64).filter_map(|start| self.cycle_through(start as Node, &component));
        cycles.min_by_key(Vec::len)
    }

    fn cycle_through(&self, start: Node, component: &[u32]) -> Option<Vec<(Node, Hop)>> {
        let mut came_by: Vec<Option<(Node, Hop)>> = vec![None; self.out.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(from) = queue.pop_front() {
            for hop in &self.out[from as usize] {
                let place = hop.to as usize;
                if component[place] != component[start as usize] || came_by[place].is_some() {
                    continue;
                }
                came_by[place] = Some((from, *hop));
                if hop.to == start {
                    return Some(walk_back(start, &came_by));
                }
                queue.push_back(hop.to);
            }
        }
        None
    }

    /// For each node the number of its strongly connected component (Tarjan's algorithm, without recursion).
    fn components(&self) -> Vec<u32> {
        const NONE: u32 = u32::MAX;
        let len = self.out.len();
        let (mut order, mut low, mut component) = (vec![NONE; len], vec![0; len], vec![NONE; len]);
        let (mut visited, mut closed) = (0, 0);
        let mut open: Vec<usize> = Vec::new();
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in 0..len {
            if order[root] == NONE {
                path.push((root, 0));
            }
            while let Some((node, next)) = path.pop() {
                if next == 0 {
                    (order[node], low[node]) = (visited, visited);
                    visited += 1;
                    open.push(node);
                } else {
                    let child = self.out[node][next - 1].to as usize;
                    if component[child] == NONE {
                        low[node] = low[node].min(low[child]);
                    }
                }
                if let Some(hop) = self.out[node].get(next) {
                    path.push((node, next + 1));
                    let child = hop.to as usize;
                    if order[child] == NONE {
                        path.push((child, 0));
                    }
                    continue;
                }
                if low[node] == order[node] {
                    while let Some(member) = open.pop() {
                        component[member] = closed;
                        if member == node {
                            break;
                        }
                    }
                    closed += 1;
                }
            }
        }
        component
    }
}

fn walk_back(start: Node, came_by: &[Option<(Node, Hop)>]) -> Vec<(Node, Hop)> {
    let mut cycle = Vec::new();
    let mut at = start;
    while let Some((from, hop)) = came_by[at as usize] {
        cycle.push((from, hop));
        at = from;
        if at == start {
            break;
        }
    }
    cycle.reverse();
    cycle
}

fn describe(versions: &Versions<'_>, cycle: &[(Node, Hop)]) -> Found {
    let steps: Vec<(Node, Edge)> = cycle
        .iter()
        .flat_map(|(from, hop)| {
            let then = hop.then.map(|middle| (middle, Edge::Rw));
            std::iter::once((*from, hop.edge)).chain(then)
        })
        .collect();
    let count = |edge: Edge| steps.iter().filter(|(_, other)| *other == edge).count();
    let adjacent = (0..steps.len())
        .any(|place| steps[place].1 == Edge::Rw && steps[(place + 1) % steps.len()].1 == Edge::Rw);
    let anomaly = match (count(Edge::Rw), count(Edge::Wr)) {
        (0, 0) => Anomaly::WriteCycle,
        (0, _) => Anomaly::CircularFlow,
        (1, _) => Anomaly::ReadSkew,
        _ if adjacent => Anomaly::WriteSkew,
        _ => Anomaly::NonadjacentSkew,
    };
    let mut how = String::new();
    for (node, edge) in &steps {
        // A moment between two transactions says nothing by itself.
        if (*node as usize) < versions.transactions.len() {
            how.push_str(&format!("\n    {} --{edge:?}-->", versions.show(*node as usize)));
        }
    }
    how.push_str(" the first");
    Found { anomaly, how }
}
