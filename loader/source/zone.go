package source

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/queries"
)

const (
	// DefaultZone is that of times without a zone where the config names none.
	DefaultZone = "UTC"
	utc         = DefaultZone
	// skippedTime is what Postgres raises for what is no time.
	skippedTime = "22007"
	// unknownZone is what it raises for a zone that it does not know, among other values that are none.
	unknownZone = "22023"
)

// Times without a zone are converted by Postgres alone. It and Go disagree about the hour that a clock change
// repeats.

func (t *Table) zone() string { return cmp.Or(t.Zone, utc) }

// zoneText is the zone as SQL has it.
func (t *Table) zoneText() string { return "'" + strings.ReplaceAll(t.zone(), "'", "''") + "'" }

// UsedZone is the zone that decides about the export's times, "" if none does.
func (t *Table) UsedZone() string {
	if t.Columns[colExportedAt].zoned() && t.Columns[colOccurredAt].zoned() {
		return ""
	}
	return t.zone()
}

// ShiftRemedy is the statement that puts right an occurred_at which was converted by the zone of a session.
func (t *Table) ShiftRemedy() string {
	moment := "%[2]s AT TIME ZONE 'that zone'"
	if t.Columns[colOccurredAt].zoned() {
		moment = "(" + moment + ") AT TIME ZONE %[3]s"
	}
	return t.onTable("ALTER TABLE %s ALTER COLUMN %[2]s TYPE timestamptz USING "+moment+";", t.sanitized(colOccurredAt), t.zoneText())
}

// at is a time column as a moment.
func (t *Table) at(column int) string {
	if t.Columns[column].zoned() {
		return t.sanitized(column)
	}
	return "(" + t.sanitized(column) + " at time zone " + t.zoneText() + ")"
}

// read is a key as a page reads it. An exported_at that a clock change skips is an error: its moment is that
// of a later time, and the page after it would begin there.
func (t *Table) read(column int) string {
	switch {
	case column != colExportedAt && column != colOccurredAt:
		return t.sanitized(column)
	case column == colExportedAt && !t.Columns[column].zoned() && t.zone() != utc:
		name, at := t.sanitized(column), t.at(column)
		return "case when " + at + " at time zone " + t.zoneText() + " is not distinct from " + name + " then " + at +
			" else (" + name + " || ' is skipped in ' || " + t.zoneText() + ")::timestamptz end"
	}
	return t.at(column)
}

// local is a moment as a value of a time column.
func (t *Table) local(column int, moment string) string {
	if t.Columns[column].zoned() {
		return moment
	}
	return moment + " at time zone " + t.zoneText()
}

// timeArg adds a time as an argument of a column's type.
func (t *Table) timeArg(c *conditions, column int, at time.Time) string {
	return t.local(column, c.arg(timestamp(at))+"::timestamptz")
}

// moment compares a time column with a moment: exported_at in the order in which it is read, for which
// an index serves; occurred_at, of which an hour may stand twice in that order, as the moment that it is.
func (t *Table) moment(c *conditions, column int, operator string, at time.Time) {
	if column == colOccurredAt && t.zone() != utc {
		c.add(t.at(column) + " " + operator + " " + c.arg(timestamp(at)) + "::timestamptz")
		return
	}
	c.add(t.sanitized(column) + " " + operator + " " + t.timeArg(c, column, at))
}

// ClockChange returns by how much clocks are changed within a day of a watermark, where exported_at has no zone:
// rows that come after such a change may lie as much below it.
func (t *Table) ClockChange(watermark *time.Time) time.Duration {
	if watermark == nil || t.Columns[colExportedAt].zoned() {
		return 0
	}
	location, err := time.LoadLocation(t.zone())
	if err != nil {
		return 0 // The config was refused.
	}
	_, before := watermark.AddDate(0, 0, -1).In(location).Zone()
	_, after := watermark.AddDate(0, 0, 1).In(location).Zone()
	return (time.Duration(after-before) * time.Second).Abs()
}

// Earlier reports whether a moment comes before another one in the order in which exported_at is read: without a zone,
// that of the clock on the wall.
func (t *Table) Earlier(a, b time.Time) bool {
	location, err := time.LoadLocation(t.zone())
	if t.Columns[colExportedAt].zoned() || err != nil {
		return a.Before(b)
	}
	_, ofA := a.In(location).Zone()
	_, ofB := b.In(location).Zone()
	return a.Add(time.Duration(ofA) * time.Second).Before(b.Add(time.Duration(ofB) * time.Second))
}

// Zones says which zones there are, for people.
func (s *Source) Zones(ctx context.Context) (string, error) {
	zones, err := ask(ctx, s, "asking for time zones", queries.New().ExportZones)
	text := fmt.Sprintf("the server's zone is %s, this session's %s", zones.Server, zones.Session)
	if zones.Others != "" {
		text += ", and roles or this database have " + zones.Others
	}
	return text, err
}
