//! How does a command change the state?
//!
//! One file per object: `network` with its `subnet`s and its `parent`, `container`, its `endpoint`s and how they are
//! `connect`ed, `publish` with what it may `overlap`, `block`. This one
//! gives out identifiers and numbers.

mod block;
mod connect;
mod container;
mod endpoint;
mod network;
mod overlap;
mod parent;
mod publish;
mod subnet;

use super::command::{Command, Context};
use super::name;
use super::refusal::{Kind, Refusal};
use super::state::{Container, Network, State};
use std::sync::Arc;

/// What a rule has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Changed,
    Unchanged,
}

impl State {
    /// Carries out a command. The revision counts up when it changed something.
    ///
    /// # Errors
    /// When a rule forbids it. Part of the command may have been carried out then: apply commands to a copy, and keep
    /// the copy only on success, as the store does.
    pub fn apply(&mut self, command: &Command, context: &Context) -> Result<(), Refusal> {
        let effect = match command {
            Command::InstallBuiltins => self.install_builtins(context)?,
            Command::CreateNetwork(spec) => self.create_network(spec, context)?,
            Command::RemoveNetworks(names) => self.remove_networks(names)?,
            Command::PruneNetworks(filters) => self.prune_networks(filters, context),
            Command::CreateContainer(spec) => self.create_container(spec, context)?,
            Command::RemoveContainers(names) => self.remove_containers(names)?,
            Command::PruneContainers(names) => self.prune_containers(names),
            Command::Connect { container, attach } => self.connect(container, attach)?,
            Command::Disconnect { container, network } => self.disconnect(container, network)?,
            Command::Publish { container, ports, allow } => self.publish(container, ports, allow, context)?,
            Command::Unpublish { container, ports } => self.unpublish(container, ports)?,
            Command::Block(prefixes) => self.block(prefixes)?,
            Command::Unblock(what) => self.unblock(what)?,
            Command::All(commands) => return self.apply_all(commands, context),
        };
        match effect {
            Effect::Changed => {
                self.forget_unused_lists();
                self.revision += 1;
            }
            Effect::Unchanged => {}
        }
        Ok(())
    }

    /// Each command sees what those before it have done: what one removes, another may make anew.
    fn apply_all(&mut self, commands: &[Command], context: &Context) -> Result<(), Refusal> {
        let mut context = context.clone();
        let entropy = context.entropy;
        for (index, command) in (0_u32..).zip(commands) {
            // Identifiers are made of it, and short ones of its beginning.
            context.entropy = mixed(entropy, index);
            if let Command::RemoveContainers(names) = command {
                let has_own =
                    |name: &&String| self.containers.get(*name).is_some_and(|container| container.has_made_namespace());
                let freed: Vec<&String> = names.iter().filter(has_own).collect();
                context.namespaces.retain(|name| !freed.contains(&name));
            }
            let about = |refusal| Refusal::Among { what: command.about(), refusal: Box::new(refusal) };
            self.apply(command, &context).map_err(about)?;
        }
        Ok(())
    }

    /// The container of this name.
    ///
    /// # Errors
    /// When there is none; with the nearest name.
    pub fn container(&self, name: &str) -> Result<&Container, Refusal> {
        self.containers.get(name).map(Arc::as_ref).ok_or_else(|| Refusal::UnknownContainer {
            name: name.to_owned(),
            nearest: name::nearest(name, self.containers.keys()),
        })
    }

    /// The network of this name.
    ///
    /// # Errors
    /// When there is none; with the nearest name.
    pub fn network(&self, name: &str) -> Result<&Network, Refusal> {
        self.networks.get(name).map(Arc::as_ref).ok_or_else(|| Refusal::UnknownNetwork {
            name: name.to_owned(),
            nearest: name::nearest(name, self.networks.keys()),
        })
    }
}

fn check_name(kind: Kind, name: &str) -> Result<(), Refusal> {
    name::check(name).map_err(|reason| Refusal::BadName { kind, name: name.to_owned(), reason })
}

/// Takes the next number: from 1, never the same twice.
fn take_number(next: &mut u32, what: Kind) -> Result<u32, Refusal> {
    let number = (*next).max(1);
    *next = number.checked_add(1).ok_or(Refusal::NumbersUsedUp { what })?;
    Ok(number)
}

/// The same randomness for each index, and another for each.
fn mixed(mut entropy: [u8; 32], index: u32) -> [u8; 32] {
    for (byte, mask) in entropy.iter_mut().zip(index.to_be_bytes()) {
        *byte ^= mask;
    }
    entropy
}

/// An identifier of 64 hexadecimal digits; `index` tells several objects of one command apart.
fn identifier(context: &Context, index: u8) -> String {
    let mut bytes = context.entropy;
    if let Some(last) = bytes.last_mut() {
        *last ^= index;
    }
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests;
