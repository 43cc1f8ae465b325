//! The modules of a crate. In: a root file. Out: every file that is reached from it by `mod`, with what it defines, what
//! it imports, what it names by path, and its string literals. Never here: code for tests, which is left out.

use anyhow::{Context, Result, bail};
use isomer_testing::root;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// A file's module: its names from the crate's root.
pub(super) type Name = Vec<String>;

/// The files of a crate.
pub(super) struct Crate {
    pub(super) modules: BTreeMap<Name, Module>,
}

/// One file.
pub(super) struct Module {
    /// From the root of the checkout.
    pub(super) file: PathBuf,
    pub(super) defined: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in code that begin with `crate`, `self` or `super`.
    pub(super) paths: BTreeSet<Name>,
    pub(super) literals: Vec<Literal>,
}

/// A leaf of a `use`.
#[derive(Clone)]
pub(super) struct Import {
    pub(super) path: Name,
    /// What it is called here; none for `*`.
    pub(super) alias: Option<String>,
    /// Whether it only hands the name on: `pub use`.
    pub(super) is_export: bool,
}

/// A string in code.
pub(super) struct Literal {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Crate {
    pub(super) fn read(file: &Path) -> Result<Crate> {
        let mut found = Crate { modules: BTreeMap::new() };
        let directory = file.parent().context("a file lies in a directory")?.to_owned();
        found.add(Vec::new(), file, &directory)?;
        Ok(found)
    }

    /// `directory` is where the files of its submodules lie.
    fn add(&mut self, name: Name, file: &Path, directory: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("could not parse {}", file.display()))?;
        let shown = file.strip_prefix(root()).unwrap_or(file).to_owned();
        let mut reader = Reader {
            module: Module {
                file: shown,
                defined: BTreeSet::new(),
                imports: Vec::new(),
                paths: BTreeSet::new(),
                literals: Vec::new(),
            },
            files: Vec::new(),
            inline: Vec::new(),
        };
        parsed.items.iter().for_each(|item| reader.visit_item(item));
        let Reader { module, files, .. } = reader;
        self.modules.insert(name.clone(), module);
        for child in files {
            let candidates = [directory.join(&child).with_extension("rs"), directory.join(&child).join("mod.rs")];
            let Some(path) = candidates.iter().find(|path| path.is_file()) else {
                bail!("{}: no file for the module `{child}`", file.display());
            };
            self.add([&name[..], std::slice::from_ref(&child)].concat(), path, &directory.join(&child))?;
        }
        Ok(())
    }
}

/// Whether an item is for tests alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

struct Reader {
    module: Module,
    /// Submodules that are files of their own.
    files: Vec<String>,
    /// The inline modules around what is visited.
    inline: Vec<String>,
}

impl Reader {
    /// A path as the file sees it: `super` inside an inline module is the file.
    fn outside(&self, mut path: Name) -> Name {
        for _ in &self.inline {
            if path.first().is_some_and(|first| first == "super") {
                path.remove(0);
            }
        }
        if path.first().is_some_and(|first| first == "super") || self.inline.is_empty() {
            return path;
        }
        path
    }

    fn import(&mut self, tree: &UseTree, before: &[String], is_export: bool) {
        let mut add = |name: &syn::Ident, alias: &syn::Ident| {
            let mut path = before.to_vec();
            if name != "self" {
                path.push(name.to_string());
            }
            let alias = if alias == "self" { path.last().cloned() } else { Some(alias.to_string()) };
            self.module.imports.push(Import { path: self.outside(path), alias, is_export });
        };
        match tree {
            UseTree::Path(path) => {
                self.import(&path.tree, &[before, &[path.ident.to_string()]].concat(), is_export);
            }
            UseTree::Name(leaf) => add(&leaf.ident, &leaf.ident),
            UseTree::Rename(leaf) => add(&leaf.ident, &leaf.rename),
            UseTree::Glob(_) => {
                let path = self.outside(before.to_vec());
                self.module.imports.push(Import { path, alias: None, is_export });
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, before, is_export));
            }
        }
    }

    fn define(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Macro(item) => match &item.ident {
                Some(ident) => ident,
                None => return,
            },
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Mod(item) if item.content.is_some() => &item.ident,
            _ => return,
        };
        self.module.defined.insert(name.to_string());
    }

    /// The paths and literals in a macro's arguments, which are not parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                        let line = literal.span().start().line;
                        self.module.literals.push(Literal { line, text: text.value() });
                    }
                }
                TokenTree::Ident(ident) if matches!(ident.to_string().as_str(), "crate" | "self" | "super") => {
                    let path = path_of(&tokens[index..]);
                    if path.len() > 1 {
                        self.name(path);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    fn name(&mut self, path: Name) {
        if matches!(path[0].as_str(), "crate" | "self" | "super") {
            let path = self.outside(path);
            self.module.paths.insert(path);
        }
    }
}

/// The `a::b::c` at the beginning of `tokens`.
fn path_of(tokens: &[TokenTree]) -> Name {
    let is_colon = |index: usize| matches!(tokens.get(index), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let mut path = Vec::new();
    let mut index = 0;
    while let Some(TokenTree::Ident(ident)) = tokens.get(index) {
        path.push(ident.to_string());
        if !is_colon(index + 1) || !is_colon(index + 2) {
            break;
        }
        index += 3;
    }
    path
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        if self.inline.is_empty() {
            self.define(item);
        }
        match item {
            Item::Use(item) => self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited)),
            Item::Mod(item) => match &item.content {
                None => self.files.push(item.ident.to_string()),
                Some((_, items)) => {
                    self.inline.push(item.ident.to_string());
                    items.iter().for_each(|item| self.visit_item(item));
                    self.inline.pop();
                }
            },
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let tests = matches!(item, syn::ImplItem::Fn(method) if is_for_tests(&method.attrs));
        if !tests {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.name(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.module.literals.push(Literal { line: text.span().start().line, text: text.value() });
    }

    /// Of attributes, only those of `thiserror` hold what a person reads; documentation may name anything.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("error")
            && let syn::Meta::List(list) = &attribute.meta
        {
            self.tokens(list.tokens.clone());
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
