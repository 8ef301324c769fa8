//! Parquet: typed columns, compressed with zstd, that analytical engines read without a description of the data.
//!
//! Rows are held by column until they are a row group, which is then written column by column. So the memory does not
//! grow with the file, except for what the footer says of each row group: about 75 KB for the columns of a delta, 23 MB for a
//! million tickets. The same rows give the same bytes.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type};

use super::{RowError, UnfitValue};
use crate::ticket::{CellValue, Column, OP_COLUMN, SEQ_COLUMN, Timestamp, ValueKind};

/// Number of bytes held of rows at which they become a row group. More would compress a little better.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// Level of zstd.
const ZSTD_LEVEL: i32 = 3;

/// Number of bytes of a text in the statistics of a column; readers skip row groups by them.
const STATISTICS_BYTES: usize = 64;

/// Columns that have a value in every row: the keys, and what tells where a row of a lake belongs.
const REQUIRED: [&str; 6] = ["_server", "_epoch", SEQ_COLUMN, OP_COLUMN, "_observed_at", UID];

/// Columns of large texts, which neither repeat nor are searched by their beginning.
const LARGE_TEXTS: [&str; 5] = ["DESCRIPTION", "_custom_fields", "_extra", "LAST_ROW", "VALUE"];

/// The column that tells which row an error is about, where there is one; else the first column does.
const UID: &str = "UID";

/// Key of the name of the table in the footer.
const TABLE_KEY: &str = "halosync.table";

/// Number of values, and about how many of their bytes, that are handed to a column at once: it looks only in between
/// whether a page is full.
const BATCH_VALUES: usize = 1024;
const BATCH_BYTES: usize = 1 << 18;

/// Number of bytes held of the level of a value, which says whether there is one.
const LEVEL_BYTES: usize = mem::size_of::<i16>();

/// Most bytes that a column adds to the footer and to a row group beside its values: statistics, offsets, page headers.
const COLUMN_BYTES: usize = 512;

/// Most bytes of the footer that depend on no row group and no column.
const FILE_BYTES: usize = 256;

/// Writes rows as Parquet.
pub(super) struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<HeldColumn>,
    /// Position of the column that tells which row an error is about.
    key: usize,
    /// Number of bytes held of the rows of the open row group.
    held_bytes: usize,
}

/// The values of a column in the open row group.
struct HeldColumn {
    name: &'static str,
    is_required: bool,
    /// 1 for each value, 0 for each NULL; unused where there is always a value.
    levels: Vec<i16>,
    values: ColumnValues,
}

enum ColumnValues {
    Integer(Vec<i64>),
    /// Microseconds since 1970, UTC.
    Timestamp(Vec<i64>),
    Boolean(Vec<bool>),
    Real(Vec<f64>),
    Text {
        /// All texts without anything between them.
        bytes: Vec<u8>,
        lengths: Vec<usize>,
    },
}

impl<W: Write + Send> ParquetWriter<W> {
    pub(super) fn new(table: &str, columns: &[Column], out: W) -> io::Result<ParquetWriter<W>> {
        let schema = schema(columns).map_err(to_io_error)?;
        let properties = properties(table, columns).map_err(to_io_error)?;
        let file =
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(to_io_error)?;
        let key = columns.iter().position(|column| column.name == UID).unwrap_or(0);
        Ok(ParquetWriter { file, columns: columns.iter().map(HeldColumn::new).collect(), key, held_bytes: 0 })
    }

    pub(super) fn write_row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = CellValue<'a>>,
    ) -> Result<(), RowError> {
        // An error names the key, which may come after the value that does not fit.
        let (mut key, mut unfit) = (CellValue::Null, None);
        for (position, (column, cell)) in self.columns.iter_mut().zip(cells).enumerate() {
            if position == self.key {
                key = cell;
            }
            match column.push(cell) {
                Ok(bytes) => self.held_bytes += bytes,
                Err(found) => {
                    unfit.get_or_insert((position, found));
                }
            }
        }
        if let Some((position, found)) = unfit {
            let column = &self.columns[position];
            return Err(UnfitValue {
                column: column.name,
                key_column: self.columns[self.key].name,
                key: match key {
                    CellValue::Integer(number) => number.to_string(),
                    _ => "(no number)".to_owned(),
                },
                found,
                expected: column.values.describe(),
            }
            .into());
        }
        if ROW_GROUP_BYTES <= self.held_bytes {
            self.write_row_group()?;
        }
        Ok(())
    }

    /// Returns the size that the file will have at most if no further row is written.
    pub(super) fn max_size(&self) -> u64 {
        let groups = self.file.flushed_row_groups().len() + 1;
        let names: usize = self.columns.iter().map(|column| column.name.len()).sum();
        let footer = FILE_BYTES + (groups + 1) * (names + self.columns.len() * COLUMN_BYTES);
        (self.file.bytes_written() + self.held_bytes + footer) as u64
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.held_bytes != 0 {
            self.write_row_group()?;
        }
        self.file.flush()?;
        self.file.into_inner().map_err(to_io_error)
    }

    fn write_row_group(&mut self) -> io::Result<()> {
        self.held_bytes = 0;
        let mut group = self.file.next_row_group().map_err(to_io_error)?;
        for held in &mut self.columns {
            let column = group.next_column().map_err(to_io_error)?;
            let mut column = column.ok_or_else(|| io::Error::other("a column is missing in the schema"))?;
            held.write(&mut column).map_err(to_io_error)?;
            column.close().map_err(to_io_error)?;
        }
        group.close().map_err(to_io_error)?;
        Ok(())
    }
}

impl HeldColumn {
    fn new(column: &Column) -> HeldColumn {
        HeldColumn {
            name: column.name,
            is_required: REQUIRED.contains(&column.name),
            levels: Vec::new(),
            values: ColumnValues::new(column.kind),
        }
    }

    /// Holds a value and returns about how many bytes that takes, or what the value is that does not fit.
    fn push(&mut self, cell: CellValue<'_>) -> Result<usize, &'static str> {
        let bytes = match cell {
            CellValue::Null if self.is_required => return Err("NULL"),
            CellValue::Null => 0,
            cell => self.values.push(cell)?,
        };
        if !self.is_required {
            self.levels.push((cell != CellValue::Null).into());
        }
        Ok(LEVEL_BYTES + bytes)
    }

    /// Writes all values and forgets them.
    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = (!self.is_required).then_some(self.levels.as_slice());
        match &mut self.values {
            ColumnValues::Integer(numbers) | ColumnValues::Timestamp(numbers) => {
                column.typed::<Int64Type>().write_batch(numbers, levels, None)?;
                numbers.clear();
            }
            ColumnValues::Boolean(values) => {
                column.typed::<BoolType>().write_batch(values, levels, None)?;
                values.clear();
            }
            ColumnValues::Real(numbers) => {
                column.typed::<DoubleType>().write_batch(numbers, levels, None)?;
                numbers.clear();
            }
            ColumnValues::Text { bytes, lengths } => {
                write_texts(column, bytes, lengths, levels)?;
                bytes.clear();
                lengths.clear();
            }
        }
        self.levels.clear();
        Ok(())
    }
}

/// Writes the texts of a column; `texts` are their bytes, of which only those of a batch are copied.
fn write_texts(
    column: &mut SerializedColumnWriter<'_>,
    texts: &[u8],
    lengths: &[usize],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = column.typed::<ByteArrayType>();
    let (mut rest, mut batch) = (texts, Vec::with_capacity(BATCH_VALUES));
    let (mut first, mut row) = (0, 0);
    let rows = levels.map_or(lengths.len(), <[i16]>::len);
    let mut lengths = lengths.iter().copied();
    while row < rows {
        let mut size = 0;
        while row < rows && batch.len() < BATCH_VALUES && size < BATCH_BYTES {
            if levels.is_none_or(|levels| levels[row] == 1) {
                let length = lengths.next().unwrap_or_default();
                batch.push((size, length));
                size += length;
            }
            row += 1;
        }
        let (of_batch, behind) = rest.split_at(size);
        let of_batch = ByteArray::from(of_batch);
        let values: Vec<_> = batch.drain(..).map(|(start, length)| of_batch.slice(start, length)).collect();
        column.write_batch(&values, levels.map(|levels| &levels[first..row]), None)?;
        (rest, first) = (behind, row);
    }
    Ok(())
}

impl ColumnValues {
    fn new(kind: ValueKind) -> ColumnValues {
        match kind {
            ValueKind::Integer => ColumnValues::Integer(Vec::new()),
            ValueKind::Timestamp => ColumnValues::Timestamp(Vec::new()),
            ValueKind::Boolean => ColumnValues::Boolean(Vec::new()),
            ValueKind::Real => ColumnValues::Real(Vec::new()),
            ValueKind::Text | ValueKind::Clock => {
                ColumnValues::Text { bytes: Vec::new(), lengths: Vec::new() }
            }
        }
    }

    /// What the column holds.
    fn describe(&self) -> &'static str {
        match self {
            ColumnValues::Integer(_) => "integers",
            ColumnValues::Timestamp(_) => "times such as 2026-11-22T12:00:00.000Z",
            ColumnValues::Boolean(_) => "0 and 1",
            ColumnValues::Real(_) => "numbers",
            ColumnValues::Text { .. } => "texts",
        }
    }

    /// Holds a value that is not NULL and returns how many bytes that takes, or what the value is that does not fit.
    ///
    /// A value of another type is taken only where nothing is lost: SQLite stores what other programs give it, and the
    /// last row of a deleted ticket is JSON, where a number without a fraction is an integer.
    fn push(&mut self, cell: CellValue<'_>) -> Result<usize, &'static str> {
        match (&mut *self, cell) {
            (ColumnValues::Integer(numbers), CellValue::Integer(number)) => {
                numbers.push(number);
                Ok(mem::size_of::<i64>())
            }
            (ColumnValues::Boolean(values), CellValue::Integer(number @ (0 | 1))) => {
                values.push(number == 1);
                Ok(mem::size_of::<bool>())
            }
            (ColumnValues::Real(numbers), CellValue::Real(number)) => {
                numbers.push(number);
                Ok(mem::size_of::<f64>())
            }
            (ColumnValues::Real(numbers), CellValue::Integer(number)) => {
                numbers.push(exact_double(number).ok_or("an integer that no double is equal to")?);
                Ok(mem::size_of::<f64>())
            }
            (ColumnValues::Timestamp(instants), CellValue::Text(text)) => {
                let at: Timestamp = text.parse().map_err(|_| "a text that is no such time")?;
                instants.push(at.instant().timestamp_micros());
                Ok(mem::size_of::<i64>())
            }
            (ColumnValues::Text { bytes, lengths }, CellValue::Text(text) | CellValue::Json(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                lengths.push(text.len());
                Ok(mem::size_of::<u32>() + text.len())
            }
            (_, CellValue::Null) => Err("NULL"),
            (_, CellValue::Integer(_)) => Err("an integer"),
            (_, CellValue::Real(_)) => Err("a number with a fraction"),
            (_, CellValue::Text(_) | CellValue::Json(_)) => Err("a text"),
        }
    }
}

/// The double that is equal to an integer, if there is one.
fn exact_double(number: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss)]
    let double = number as f64;
    #[expect(clippy::cast_possible_truncation)]
    let back = double as i128;
    (back == i128::from(number)).then_some(double)
}

fn schema(columns: &[Column]) -> Result<Type, ParquetError> {
    let field = |column: &Column| {
        let (physical, logical) = match column.kind {
            ValueKind::Integer => (PhysicalType::INT64, None),
            ValueKind::Boolean => (PhysicalType::BOOLEAN, None),
            ValueKind::Real => (PhysicalType::DOUBLE, None),
            // Iceberg and Delta want microseconds.
            ValueKind::Timestamp => {
                (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
            }
            ValueKind::Text | ValueKind::Clock => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let is_required = REQUIRED.contains(&column.name);
        let repetition = if is_required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(column.name, physical);
        Ok(Arc::new(field.with_logical_type(logical).with_repetition(repetition).build()?))
    };
    let fields = columns.iter().map(field).collect::<Result<_, ParquetError>>()?;
    Type::group_type_builder("halosync").with_fields(fields).build()
}

fn properties(table: &str, columns: &[Column]) -> Result<WriterProperties, ParquetError> {
    let table = KeyValue::new(TABLE_KEY.to_owned(), table.to_owned());
    let properties = WriterProperties::builder()
        .set_created_by(format!("halosync {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![table]))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        // It tells where each page is, and would be kept in memory until the file ends.
        .set_offset_index_disabled(true);
    let large = columns.iter().filter(|column| LARGE_TEXTS.contains(&column.name));
    let properties = large.fold(properties, |properties, column| {
        let path = || ColumnPath::from(column.name);
        properties
            .set_column_dictionary_enabled(path(), false)
            .set_column_statistics_enabled(path(), EnabledStatistics::None)
    });
    Ok(properties.build())
}

/// The error of the output, if it is one: whether the disk is full is known from its kind.
fn to_io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use parquet::basic::{ConvertedType, Encoding};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Format, FormatOptions};
    use crate::export::RowWriter;
    use crate::snapshot_table::SnapshotTable;
    use crate::ticket::delta_columns;

    /// One column of each kind behind those of a lake.
    const COLUMNS: [Column; 9] = [
        Column::new("_server", ValueKind::Text),
        Column::new("_epoch", ValueKind::Integer),
        Column::new("FLAGGED", ValueKind::Boolean),
        Column::new("UID", ValueKind::Integer),
        Column::new("COST", ValueKind::Real),
        Column::new("DEADLINE_DATE", ValueKind::Timestamp),
        Column::new("NAME", ValueKind::Text),
        Column::new("START_TIME", ValueKind::Clock),
        Column::new("DESCRIPTION", ValueKind::Text),
    ];

    type Cells<'a> = [CellValue<'a>; COLUMNS.len()];

    fn writer(columns: &[Column]) -> RowWriter<Vec<u8>> {
        RowWriter::new(FormatOptions::exact(Format::Parquet), "tickets", columns, Vec::new()).unwrap()
    }

    fn write(rows: &[Cells<'_>]) -> Vec<u8> {
        let mut writer = writer(&COLUMNS);
        for row in rows {
            writer.write_row(*row).unwrap();
        }
        writer.finish().unwrap()
    }

    /// A row with texts of which none is like another.
    fn row(id: i64, text: &str) -> Cells<'_> {
        use CellValue::{Integer, Json, Null, Real, Text};
        let stamp = Text("2026-11-22T12:00:00.123Z");
        [
            Text("acme"),
            Integer(1),
            Integer(id & 1),
            Integer(id),
            Real(0.5),
            stamp,
            Text(text),
            Null,
            Json(text),
        ]
    }

    fn open(bytes: &[u8]) -> SerializedFileReader<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SerializedFileReader::new(file).unwrap()
    }

    fn read(bytes: &[u8]) -> Vec<Vec<Field>> {
        let rows = open(bytes).into_iter();
        rows.map(|row| row.unwrap().into_columns().into_iter().map(|(_, field)| field).collect()).collect()
    }

    /// What a reader should see of a cell.
    fn field(column: Column, cell: CellValue<'_>) -> Field {
        match (column.kind, cell) {
            (_, CellValue::Null) => Field::Null,
            (ValueKind::Boolean, CellValue::Integer(number)) => Field::Bool(number == 1),
            (ValueKind::Real, CellValue::Integer(number)) => {
                Field::Double(number.to_string().parse().unwrap())
            }
            (_, CellValue::Integer(number)) => Field::Long(number),
            (_, CellValue::Real(number)) => Field::Double(number),
            (ValueKind::Timestamp, CellValue::Text(text)) => {
                let at = chrono::DateTime::parse_from_rfc3339(text).unwrap();
                Field::TimestampMicros(at.timestamp_micros())
            }
            (_, CellValue::Text(text) | CellValue::Json(text)) => Field::Str(text.to_owned()),
        }
    }

    fn is_same(left: &Field, right: &Field) -> bool {
        match (left, right) {
            (Field::Double(left), Field::Double(right)) => left.to_bits() == right.to_bits(),
            (left, right) => left == right,
        }
    }

    fn assert_read(bytes: &[u8], rows: &[Cells<'_>]) {
        let read = read(bytes);
        assert_eq!(read.len(), rows.len());
        for (fields, row) in read.iter().zip(rows) {
            let expected = COLUMNS.iter().zip(row).map(|(column, cell)| field(*column, *cell));
            for (found, expected) in fields.iter().zip(expected) {
                assert!(is_same(found, &expected), "{found:?} is not {expected:?}");
            }
        }
    }

    #[test]
    fn every_column_has_the_type_of_its_kind() {
        let lake = [Column::new("_server", ValueKind::Text), Column::new("_epoch", ValueKind::Integer)];
        let of_lake = lake.into_iter().chain(delta_columns()).collect();
        let tables = SnapshotTable::all().map(SnapshotTable::columns).chain([delta_columns(), of_lake]);
        for columns in tables {
            let bytes = writer(&columns).finish().unwrap();
            assert_eq!(read(&bytes), Vec::<Vec<Field>>::new());
            let reader = open(&bytes);
            let metadata = reader.metadata().file_metadata();
            let described: Vec<_> = metadata.schema_descr().columns().iter().collect();
            assert_eq!(described.len(), columns.len());
            for (found, column) in described.iter().zip(&columns) {
                let (physical, converted) = match column.kind {
                    ValueKind::Text | ValueKind::Clock => (PhysicalType::BYTE_ARRAY, ConvertedType::UTF8),
                    ValueKind::Integer => (PhysicalType::INT64, ConvertedType::NONE),
                    ValueKind::Real => (PhysicalType::DOUBLE, ConvertedType::NONE),
                    ValueKind::Boolean => (PhysicalType::BOOLEAN, ConvertedType::NONE),
                    ValueKind::Timestamp => (PhysicalType::INT64, ConvertedType::TIMESTAMP_MICROS),
                };
                let is_required =
                    ["_server", "_epoch", "_seq", "_op", "_observed_at", "UID"].contains(&column.name);
                assert_eq!(found.name(), column.name);
                assert_eq!(
                    (found.physical_type(), found.converted_type()),
                    (physical, converted),
                    "{column:?}"
                );
                assert_eq!(found.max_def_level(), i16::from(!is_required), "{column:?}");
                if column.kind == ValueKind::Timestamp {
                    let utc = LogicalType::timestamp(true, TimeUnit::MICROS);
                    assert_eq!(found.logical_type_ref(), Some(&utc), "{column:?}");
                }
            }
            assert_eq!(metadata.created_by(), Some(&*format!("halosync {}", env!("CARGO_PKG_VERSION"))));
            let pairs = metadata.key_value_metadata().unwrap();
            assert_eq!(pairs[..], [KeyValue::new("halosync.table".into(), "tickets".to_owned())]);
        }
    }

    #[test]
    fn rows_beyond_a_row_group_begin_the_next_one() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut long = || (0..20_000).map(|_| rng.alphanumeric()).collect::<String>();
        let texts: Vec<_> = (0..600).map(|_| long()).collect();
        let rows: Vec<_> = (0..).zip(&texts).map(|(id, text)| row(id, text)).collect();
        let bytes = write(&rows);
        assert_eq!(bytes, write(&rows), "the same rows gave other bytes");
        assert_read(&bytes, &rows);
        let reader = open(&bytes);
        let groups = reader.metadata().row_groups();
        assert_eq!(groups.len(), 3, "24 MB of rows");
        for group in groups {
            let size = usize::try_from(group.total_byte_size()).unwrap();
            assert!(size < ROW_GROUP_BYTES + 100_000, "{size}");
            let column = |name| group.columns().iter().find(|it| it.column_path().string() == name).unwrap();
            let name = column("NAME").statistics().unwrap();
            assert_eq!(name.max_bytes_opt().unwrap().len(), 64);
            assert_eq!(name.null_count_opt(), Some(0));
            let large = column("DESCRIPTION");
            assert!(large.statistics().is_none());
            assert!(
                large
                    .encodings()
                    .all(|it| it != Encoding::RLE_DICTIONARY && it != Encoding::PLAIN_DICTIONARY)
            );
            let of_groups = group.columns().iter();
            assert!(of_groups.clone().all(|it| matches!(it.compression(), Compression::ZSTD(_))));
            assert!(
                of_groups
                    .clone()
                    .all(|it| it.bloom_filter_offset().is_none() && it.column_index_range().is_none())
            );
        }
    }

    #[test]
    fn size_is_never_more_than_announced() {
        let mut rng = fastrand::Rng::with_seed(1);
        for length in [0, 3, 64, 5_000] {
            let mut writer = writer(&COLUMNS);
            let mut announced = writer.max_size();
            for id in 0..12_000_000 / (length + 200) {
                let text: String = (0..length).map(|_| rng.char('\u{80}'..)).collect();
                writer.write_row(row(rng.i64(..), &text)).unwrap();
                if id % 1_000 == 0 {
                    assert!(announced < writer.max_size() + ROW_GROUP_BYTES as u64);
                    announced = writer.max_size();
                }
            }
            let announced = writer.max_size();
            let size = writer.finish().unwrap().len() as u64;
            assert!(size <= announced, "{size} of {announced} bytes with texts of {length} characters");
        }
        let empty = writer(&COLUMNS);
        let announced = empty.max_size();
        assert!(empty.finish().unwrap().len() as u64 <= announced && announced < 20_000, "{announced}");
    }

    #[test]
    fn value_that_its_column_cannot_hold_is_named_with_its_row() {
        use CellValue::{Integer, Json, Null, Real, Text};
        let unfit: [(usize, CellValue<'_>, &str); 15] = [
            (0, Null, "_server of the row with UID 7 is NULL, but the column holds texts"),
            (0, Integer(5), "_server of the row with UID 7 is an integer, but the column holds texts"),
            (1, Text("1"), "_epoch of the row with UID 7 is a text, but the column holds integers"),
            (1, Real(1.5), "_epoch of the row with UID 7 is a number with a fraction"),
            (2, Integer(2), "FLAGGED of the row with UID 7 is an integer, but the column holds 0 and 1"),
            (2, Text("true"), "FLAGGED of the row with UID 7 is a text, but"),
            (3, Null, "UID of the row with UID (no number) is NULL, but"),
            (3, Text("x"), "UID of the row with UID (no number) is a text, but"),
            (4, Text("0.5"), "COST of the row with UID 7 is a text, but the column holds numbers"),
            (4, Integer(i64::MAX), "is an integer that no double is equal to"),
            (4, Integer((1 << 53) + 1), "is an integer that no double is equal to"),
            (5, Text("2026-11-22"), "is a text that is no such time, but the column holds times such as"),
            (5, Text("2026-02-30T12:00:00.000Z"), "is a text that is no such time"),
            (5, Integer(0), "DEADLINE_DATE of the row with UID 7 is an integer"),
            (
                6,
                Real(0.5),
                "NAME of the row with UID 7 is a number with a fraction, but the column holds texts",
            ),
        ];
        for (position, cell, message) in unfit {
            let mut cells = row(7, "x");
            cells[position] = cell;
            let error = writer(&COLUMNS).write_row(cells).unwrap_err();
            assert!(matches!(error, RowError::Unfit(_)), "{error:?}");
            assert!(error.to_string().contains(message), "{error} instead of {message}");
        }
        let mut exact = row(7, "x");
        exact[4] = Integer(-(1 << 53));
        exact[8] = Json("[]");
        assert_read(&write(&[exact]), &[exact]);
        // Not every table has tickets.
        let columns = [Column::new("ID", ValueKind::Integer), Column::new("PRESENT", ValueKind::Boolean)];
        let error = writer(&columns).write_row([Integer(3), Integer(2)]).unwrap_err();
        assert!(error.to_string().starts_with("PRESENT of the row with ID 3 is an integer"), "{error}");
    }

    #[test]
    fn full_disk_is_told_from_other_errors() {
        #[derive(Debug)]
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writer =
            || RowWriter::new(FormatOptions::exact(Format::Parquet), "tickets", &COLUMNS, Full).unwrap();
        let error = writer().finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error:?}");
        let mut writer = writer();
        let text: String = (0..ROW_GROUP_BYTES).map(|_| fastrand::alphanumeric()).collect();
        let Err(RowError::Io(error)) = writer.write_row(row(1, &text)) else { panic!("no error of writing") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error:?}");
    }

    fn cells() -> impl Strategy<Value = (bool, i64, f64, i64, String, Vec<bool>)> {
        let integer = prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(0)];
        let text = "(?s).*|[\"\r\n\t,;|\\x00=\u{202e}\u{1F680}\u{FEFF}]{0,8}";
        // Years 0000 to 9999.
        let milliseconds = -62_167_219_200_000_i64..=253_402_300_799_999;
        let double = any::<f64>().prop_filter("SQLite stores it as NULL", |number| !number.is_nan());
        (any::<bool>(), integer, double, milliseconds, text, proptest::collection::vec(any::<bool>(), 6))
    }

    proptest! {
        #[test]
        fn values_round_trip_through_parquet(rows in proptest::collection::vec(cells(), 0..50)) {
            let stamps: Vec<_> = rows.iter().map(|row| {
                let at = chrono::DateTime::from_timestamp_millis(row.3).unwrap();
                Timestamp::new(at).unwrap().to_string()
            }).collect();
            let rows: Vec<Cells<'_>> = rows.iter().zip(&stamps).map(|(row, stamp)| {
                let (boolean, integer, real, _, text, present) = row;
                let optional = |position: usize, cell| if present[position] { cell } else { CellValue::Null };
                [
                    CellValue::Text(text),
                    CellValue::Integer(*integer),
                    optional(0, CellValue::Integer((*boolean).into())),
                    CellValue::Integer(*integer),
                    optional(1, CellValue::Real(*real)),
                    optional(2, CellValue::Text(stamp)),
                    optional(3, CellValue::Text(text)),
                    optional(4, CellValue::Text(text)),
                    optional(5, CellValue::Json(text)),
                ]
            }).collect();
            let bytes = write(&rows);
            assert_read(&bytes, &rows);
            prop_assert_eq!(&bytes, &write(&rows));
        }
    }
}
