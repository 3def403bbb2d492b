package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"time"
	_ "time/tzdata" // Images without the tz database know their zones too.

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/schedule"
)

// canonical are the columns of the export.
var canonical = []string{
	"anonymous_id", "event_name", "exported_at", "id", "kind", "occurred_at", "portal_id", "segment_id",
	"tutorial_id", "user_id", "version_id",
}

// invalid is what is wrong with a value, and the remedy.
func invalid(hint, format string, args ...any) error {
	return fault.New(fault.Config, format, args...).WithHint("%s", hint)
}

// set reads a text into a field; it is one more item of a list.
func (d *decoder) set(f field, text string) error {
	text = f.clean(text)
	switch to := f.to.Addr().Interface().(type) {
	case *int:
		return setInt(to, text, f.tag)
	case *time.Duration:
		return setDuration(to, text, f.tag.Get("min"))
	case **time.Location:
		err := unlessEmpty(to, text, parseLocation)
		d.location = *to // It stands before what is read in it.
		return err
	case **schedule.Schedule:
		return unlessEmpty(to, text, d.parseSchedule)
	case *StartAt:
		return unlessEmpty(to, text, d.parseStartAt)
	case *uuid.UUID:
		return unlessEmpty(to, text, parseNamespace)
	case *MaxRejected:
		return unlessEmpty(to, text, ParseMaxRejected)
	case *Kinds:
		return unlessEmpty(to, text, parseKinds)
	case *Zone:
		return unlessEmpty(to, text, parseZone)
	case *Table:
		return unlessEmpty(to, text, parseTable)
	}
	if f.to.Kind() == reflect.Slice {
		f.to.Set(reflect.Append(f.to, reflect.ValueOf(text).Convert(f.to.Type().Elem())))
		return nil
	}
	f.to.SetString(text)
	return nil
}

// unlessEmpty keeps the default where the text is empty, as a variable may be.
func unlessEmpty[T any](to *T, text string, parse func(string) (T, error)) error {
	if text == "" {
		return nil
	}
	value, err := parse(text)
	if err == nil {
		*to = value
	}
	return err
}

func setInt(to *int, text string, tag reflect.StructTag) error {
	least, _ := strconv.Atoi(tag.Get("min"))
	most, _ := strconv.Atoi(tag.Get("max"))
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return invalid("", "%q: expected a whole number of %s from %d to %d", text, tag.Get("unit"), least, most)
	}
	*to = n
	return nil
}

var days = regexp.MustCompile(`^[0-9]{1,6}d`)

// parseDuration is time.ParseDuration with days in front.
func parseDuration(text string) (time.Duration, error) {
	return time.ParseDuration(days.ReplaceAllStringFunc(text, func(match string) string {
		n, _ := strconv.Atoi(match[:len(match)-1]) // It is digits.
		return strconv.Itoa(n*24) + "h"
	}))
}

func setDuration(to *time.Duration, text, least string) error {
	const hint = "For example 30s, 15m, 2h or 1d."
	duration, err := parseDuration(text)
	if err != nil {
		return invalid(hint, "%q: expected a duration with its unit", text)
	}
	if limit, _ := parseDuration(least); duration < limit {
		return invalid(hint, "%q: expected a duration of at least %s", text, least)
	}
	*to = duration
	return nil
}

func parseLocation(text string) (*time.Location, error) {
	location, err := time.LoadLocation(text)
	if err != nil {
		return nil, invalid("Write a name of the tz database, for example Europe/Berlin or UTC.", "unknown time zone %q", text)
	}
	return location, nil
}

// parseZone takes what Postgres knows too, which Local is not.
func parseZone(text string) (Zone, error) {
	location, err := parseLocation(text)
	if err == nil && location == time.Local {
		return "", invalid("Write a name of the tz database, for example Europe/Berlin or UTC.", "time zone %q is another one on each machine", text)
	}
	return Zone(text), err
}

func (d *decoder) parseSchedule(text string) (*schedule.Schedule, error) {
	s, err := schedule.Parse(text, d.location)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, schedule.ErrTimeZone):
		return nil, invalid("Write it as `timezone:`.", "%s", err)
	default:
		return nil, invalid(`Five fields, minute hour day month weekday, for example "15 * * * *" (each hour at 15), or @hourly, @daily, @every 30m.`, "%s", err)
	}
}

func (d *decoder) parseStartAt(text string) (StartAt, error) {
	switch text {
	case "beginning":
		return StartAt{}, nil
	case "now":
		return StartAt{Now: true}, nil
	}
	moment, err := ParseTime(text, d.location)
	if err != nil {
		err = invalid("Write beginning, now, 2026-01-31 or 2026-01-31T08:00:00Z.", "%q: expected beginning, now or a date", text)
	} else if moment.Before(time.Unix(0, 0)) {
		err = invalid("Write all four digits of the year; the beginning is beginning.", "%q lies before 1970", text)
	}
	return StartAt{At: moment}, err
}

// Check refuses a start that no row has reached: a run would read nothing, and call that a success.
func (s StartAt) Check(clock time.Time) error {
	if !s.At.After(clock) {
		return nil
	}
	return invalid("Look at start_at in the config: a date up to today, beginning or now.",
		"start_at %s lies after the export's clock, %s: no row would be read", s.At.UTC().Format(time.RFC3339), clock.UTC().Format(time.RFC3339))
}

// ParseTime reads a date, which is midnight in location, or a time of RFC 3339.
func ParseTime(text string, location *time.Location) (time.Time, error) {
	if moment, err := time.ParseInLocation(time.DateOnly, text, location); err == nil {
		return moment, nil
	}
	moment, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date (2026-01-31) nor a time (2026-01-31T08:00:00Z)", text)
	}
	return moment, nil
}

func parseNamespace(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || id == uuid.Nil {
		return id, invalid("Leave it out to have one made, or write the one that `candu-loader status` shows.", "%q is not a UUID", text)
	}
	return id, nil
}

// byEventName stands in place of spellings of the column kind.
const byEventName = "by_event_name"

func parseKinds(text string) (Kinds, error) {
	if text != byEventName {
		return Kinds{}, invalid("Write {view: [view], interaction: [interaction]} or "+byEventName+".", "%q: expected spellings, or %s", text, byEventName)
	}
	return Kinds{ByEventName: true}, nil
}

// name is a name as it stands in schema.table: plain, or in double quotes.
const name = `(?:"([^"]+)"|([^".][^.]*))`

var tableName = regexp.MustCompile(`^(?:` + name + `\.)?` + name + `$`)

// parseTable reads schema.table, each name plain or in double quotes; without
// a schema it is public. A plain name is taken as it is written.
func parseTable(text string) (Table, error) {
	parts := tableName.FindStringSubmatch(text)
	if parts == nil {
		return Table{}, invalid(`Write schema.table; names with capitals or dots in double quotes: '"My Schema"."Table"'.`, "%q is not a table's name", text)
	}
	return Table{Schema: cmp.Or(parts[1], parts[2], "public"), Name: parts[3] + parts[4]}, nil
}

// String names the table as people write it.
func (t Table) String() string { return fmt.Sprintf("%s.%s", t.Schema, t.Name) }
