//! [`Installed`]: what the kernel has, and the difference to what it should have.

use super::plan::{Part, Rule};
use super::{TABLE, flows, frame};
use linux::nft::{Batch, Chain, Contents, DataType, NftError, Set, Verdict, apply, contents};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The parts of all Services, as they are in the kernel.
#[derive(Debug, Default)]
pub struct Installed {
    parts: BTreeMap<String, Part>,
    /// Who has an element that two Services claim (such as one external IP): the first.
    owners: HashMap<(&'static str, Vec<u8>), String>,
}

impl Installed {
    /// Replaces whatever the table holds by the frame and `parts`, in one step: traffic never sees less than the old
    /// or the new. Blocks.
    pub fn reset(parts: BTreeMap<String, Part>) -> Result<Self, NftError> {
        let found = contents(TABLE).unwrap_or_else(|error| {
            tracing::warn!("{error}; the service proxy's table is made anew");
            Contents::default()
        });
        if !found.is_empty() {
            match Self::replace(parts.clone(), &found) {
                Err(error) => tracing::warn!("{error}; the service proxy's table is made anew"),
                done => return done,
            }
        }
        let mut batch = Batch::new(TABLE);
        // Deleting needs a table; adding one that is there changes nothing.
        batch.add_table();
        batch.delete_table();
        batch.add_table();
        frame::build(&mut batch);
        let mut installed = Self::default();
        installed.change(parts, &mut batch);
        apply(&batch)?;
        flows::forget_astray(&flows::all(installed.parts.values()));
        Ok(installed)
    }

    /// The same, keeping the table and what has the same name in it. The hooks of a new table come before those of
    /// an old one, and a packet that is between them when the tables change would be seen by neither. What sets
    /// remember of clients is kept too.
    fn replace(parts: BTreeMap<String, Part>, found: &Contents) -> Result<Self, NftError> {
        let mut batch = Batch::new(TABLE);
        found.chains.iter().for_each(|chain| batch.flush_chain(chain));
        frame::maps().filter(|map| found.sets.contains(*map)).for_each(|map| batch.flush_set(map));
        frame::build(&mut batch);
        let mut installed = Self::default();
        installed.change(parts, &mut batch);
        let (mut chains, mut sets): (BTreeSet<&str>, BTreeSet<&str>) =
            (frame::chains().collect(), frame::maps().collect());
        for part in installed.parts.values() {
            chains.extend(part.chains.keys().map(String::as_str));
            sets.extend(part.sets.keys().map(String::as_str));
        }
        let stale = |name: &&String, wanted: &BTreeSet<&str>| !wanted.contains(name.as_str());
        found.chains.iter().filter(|name| stale(name, &chains)).for_each(|name| batch.delete_chain(name));
        found.sets.iter().filter(|name| stale(name, &sets)).for_each(|name| batch.delete_set(name));
        apply(&batch)?;
        flows::forget_astray(&flows::all(installed.parts.values()));
        Ok(installed)
    }

    /// Makes the given Services' parts as given; an empty part removes. Blocks. After an error the kernel is as it
    /// was; start over with [`Installed::reset`].
    pub fn update(&mut self, parts: BTreeMap<String, Part>) -> Result<(), NftError> {
        let mut batch = Batch::new(TABLE);
        let changes = self.change(parts, &mut batch);
        apply(&batch)?;
        flows::forget_astray(&flows::changed(&changes));
        Ok(())
    }

    /// The parts as they are.
    pub fn parts(&self) -> &BTreeMap<String, Part> {
        &self.parts
    }

    /// The difference between what is installed and `parts`, in an order that the kernel accepts: what is
    /// referred to exists before the reference, and goes after it. Returns what each part was and is.
    fn change(&mut self, parts: BTreeMap<String, Part>, batch: &mut Batch) -> Vec<(Part, Part)> {
        let mut changes = Vec::new();
        for (service, mut new) in parts {
            let old = self.parts.remove(&service).unwrap_or_default();
            self.settle_ownership(&service, &old, &mut new);
            changes.push((old, new.clone()));
            if new != Part::default() {
                self.parts.insert(service, new);
            }
        }
        for (old, new) in &changes {
            for (set, timeout) in new.sets.iter().filter(|(set, timeout)| old.sets.get(*set) != Some(timeout))
            {
                let key = vec![DataType::Ipv4];
                batch.add_set(&Set { name: set.clone(), key, verdicts: false, timeout: Some(*timeout) });
            }
            for chain in new.chains.keys().filter(|chain| !old.chains.contains_key(*chain)) {
                batch.add_chain(&Chain { name: chain.clone(), hook: None });
            }
        }
        for (old, new) in &changes {
            change_elements(old, new, batch);
        }
        for (old, new) in &changes {
            for (chain, rules) in
                new.chains.iter().filter(|(chain, rules)| old.chains.get(*chain) != Some(rules))
            {
                if old.chains.contains_key(chain) {
                    batch.flush_chain(chain);
                }
                rules.iter().for_each(|rule| add_rule(batch, chain, rule));
            }
        }
        let gone = |(old, new): &(Part, Part)| -> Vec<String> {
            old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)).cloned().collect()
        };
        changes.iter().flat_map(gone).for_each(|chain| batch.flush_chain(&chain));
        changes.iter().flat_map(gone).for_each(|chain| batch.delete_chain(&chain));
        for (old, new) in &changes {
            old.sets.keys().filter(|set| !new.sets.contains_key(*set)).for_each(|set| batch.delete_set(set));
        }
        changes
    }

    fn settle_ownership(&mut self, service: &str, old: &Part, new: &mut Part) {
        for key in old.elements.keys().filter(|key| !new.elements.contains_key(*key)) {
            self.owners.remove(key);
        }
        new.elements.retain(|key, _| {
            let owner = self.owners.entry(key.clone()).or_insert_with(|| service.to_owned());
            if owner != service {
                tracing::warn!(
                    service,
                    other = owner,
                    "two Services claim the same address and port; the first keeps it"
                );
            }
            owner == service
        });
    }
}

fn change_elements(old: &Part, new: &Part, batch: &mut Batch) {
    type Elements = BTreeMap<&'static str, Vec<(Vec<u8>, Option<Verdict>)>>;
    let (mut gone, mut added) = (Elements::new(), Elements::new());
    for ((map, key), verdict) in &old.elements {
        if new.elements.get(&(*map, key.clone())) != Some(verdict) {
            gone.entry(map).or_default().push((key.clone(), Some(verdict.clone())));
        }
    }
    for ((map, key), verdict) in &new.elements {
        if old.elements.get(&(*map, key.clone())) != Some(verdict) {
            added.entry(map).or_default().push((key.clone(), Some(verdict.clone())));
        }
    }
    gone.iter().for_each(|(map, elements)| batch.delete_elements(map, elements));
    added.iter().for_each(|(map, elements)| batch.add_elements(map, elements));
}

fn add_rule(batch: &mut Batch, chain: &str, rule: &Rule) {
    match rule {
        Rule::All(expressions) => batch.add_rule(chain, expressions),
        Rule::Random(verdicts) => batch.add_random_rule(chain, verdicts),
    }
}
