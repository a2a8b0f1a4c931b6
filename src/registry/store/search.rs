//! Lists and search: a page at a time, in an order that stays while things are published.

use rusqlite::{Connection, ToSql, Transaction, params};

use super::StoreError;
use super::read::{self, Artifact};

/// Bytes of a README that are indexed.
const INDEXED: usize = 64 * 1024;

/// Words of a query that count.
const MAX_WORDS: usize = 8;

/// Which artifacts are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those of these namespaces: what the caller may read.
    pub readable: Option<Vec<String>>,
    /// Part of a name, description or tag, or words of the README.
    pub search: Option<String>,
    /// Behind this one, as a page's `next` says.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The artifacts.
    pub artifacts: Vec<Artifact>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Where a row stands in the order.
#[derive(Debug, Default, PartialEq)]
struct Position {
    class: i64,
    namespace: String,
    name: String,
}

impl Position {
    fn parse(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(3, '/');
        Some(Self {
            class: parts.next()?.parse().ok()?,
            namespace: parts.next()?.to_owned(),
            name: parts.next()?.to_owned(),
        })
    }

    fn text(&self) -> String {
        format!("{}/{}/{}", self.class, self.namespace, self.name)
    }
}

/// The page that is wanted.
///
/// # Errors
/// The database fails. A cursor that is none begins at the beginning.
pub(super) fn page(sql: &Connection, wanted: &Wanted) -> Result<Page, StoreError> {
    let from = wanted
        .cursor
        .as_deref()
        .and_then(Position::parse)
        .unwrap_or_default();
    let readable = wanted
        .readable
        .as_ref()
        .map(|names| serde_json::json!(names).to_string());
    let words = wanted.search.as_deref().map(Words::of);
    let source = words
        .as_ref()
        .map_or("SELECT id, 0 AS class FROM artifact", |words| words.source());
    let text = format!(
        "WITH found AS ({source}),
         hit AS (SELECT id, min(class) AS class FROM found GROUP BY id)
         SELECT a.id, a.namespace, a.name, a.description, a.tags, a.latest, hit.class
         FROM hit CROSS JOIN artifact a ON a.id = hit.id
         WHERE a.live
           AND (?1 IS NULL OR a.namespace = ?1)
           AND (?2 IS NULL OR a.namespace IN (SELECT value FROM json_each(?2)))
           AND (hit.class, a.namespace, a.name) > (?3, ?4, ?5)
         ORDER BY hit.class, a.namespace, a.name LIMIT ?6"
    );
    let text = if words.is_some() { &text } else { LIST };
    let limit = i64::try_from(wanted.limit + 1).unwrap_or(i64::MAX);
    let mut values: Vec<&dyn ToSql> = vec![
        &wanted.namespace,
        &readable,
        &from.class,
        &from.namespace,
        &from.name,
        &limit,
    ];
    if let Some(words) = &words {
        values.extend(words.values());
    }
    let mut statement = sql.prepare_cached(text)?;
    let rows = statement.query_map(&values[..], |row| {
        let position = Position {
            class: row.get(6)?,
            namespace: row.get(1)?,
            name: row.get(2)?,
        };
        Ok((position, read::artifact_row(row)?))
    })?;
    let mut rows: Vec<(Position, (i64, Artifact))> = rows.collect::<Result<_, _>>()?;
    let more = rows.len() > wanted.limit;
    rows.truncate(wanted.limit);
    let next = rows.last().filter(|_| more).map(|(position, _)| position.text());
    let mut artifacts = Vec::with_capacity(rows.len());
    for (_, (id, mut artifact)) in rows {
        artifact.versions = read::numbers(sql, id)?;
        artifacts.push(artifact);
    }
    Ok(Page { artifacts, next })
}

/// All of them: in the order of the index, so that a page reads only itself.
const LIST: &str = "SELECT a.id, a.namespace, a.name, a.description, a.tags, a.latest, ?3
     FROM artifact a
     WHERE a.live
       AND (?1 IS NULL OR a.namespace = ?1)
       AND (?2 IS NULL OR a.namespace IN (SELECT value FROM json_each(?2)))
       AND (a.namespace, a.name) > (?4, ?5)
     ORDER BY a.namespace, a.name LIMIT ?6";

/// A query, cut for the two indexes.
struct Words {
    exact: String,
    /// For `labels`, which finds parts of three characters and more.
    part: Option<String>,
    /// For names, when the part is too short for `labels`.
    like: String,
    /// For `words`: all of them, the last one as a beginning.
    all: Option<String>,
}

impl Words {
    fn of(query: &str) -> Self {
        let query = query.trim().to_lowercase();
        let words: Vec<&str> = query
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .take(MAX_WORDS)
            .collect();
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let escaped = query
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        let part = query.replace('\0', "").replace('"', "\"\"");
        Self {
            part: (query.chars().count() >= 3).then(|| format!("\"{part}\"")),
            like: format!("%{escaped}%"),
            all: (!quoted.is_empty()).then(|| format!("{}*", quoted.join(" "))),
            exact: query,
        }
    }

    /// Class 0: the very name; 1: part of a name; 2: part of a description or tag; 3: words of the README.
    fn source(&self) -> &'static str {
        "SELECT id, 0 AS class FROM artifact WHERE name = ?7
         UNION ALL SELECT id, 1 FROM artifact WHERE ?8 IS NULL AND name LIKE ?9 ESCAPE '\\'
         UNION ALL SELECT rowid, 1 FROM labels WHERE ?8 IS NOT NULL AND labels MATCH 'name : ' || ?8
         UNION ALL SELECT rowid, 2 FROM labels WHERE ?8 IS NOT NULL AND labels MATCH ?8
         UNION ALL SELECT rowid, 3 FROM words WHERE ?10 IS NOT NULL AND words MATCH ?10"
    }

    fn values(&self) -> [&dyn ToSql; 4] {
        [&self.exact, &self.part, &self.like, &self.all]
    }
}

/// Makes the index say what the artifact's row says; with `words`, also what its README says.
pub(super) fn index(sql: &Transaction<'_>, artifact: i64, words: Option<&str>) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM labels WHERE rowid = ?1")?
        .execute([artifact])?;
    sql.prepare_cached(
        "INSERT INTO labels (rowid, name, description, tags)
         SELECT id, name, description, tags FROM artifact WHERE id = ?1 AND live",
    )?
    .execute([artifact])?;
    if let Some(readme) = words {
        let mut end = readme.len().min(INDEXED);
        while !readme.is_char_boundary(end) {
            end -= 1;
        }
        sql.prepare_cached("DELETE FROM words WHERE rowid = ?1")?
            .execute([artifact])?;
        sql.prepare_cached("INSERT INTO words (rowid, readme) VALUES (?1, ?2)")?
            .execute(params![artifact, &readme[..end]])?;
    }
    Ok(())
}
