// Package schedule says when the slots of a cron schedule are. It is pure: the same
// question has the same answer in every process, so that replicas agree on slots.
package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a cron expression in a time zone.
//
// Where the clock is put forward, a slot that does not exist that day is at the
// moment after the gap; where it is put back, a slot that exists twice is at its first
// occurrence. robfig/cron passes over the one and repeats the other
// (https://pkg.go.dev/github.com/robfig/cron/v3#hdr-Time_zones), so what it knows of an
// expression is asked here in a time without changes. Expressions of every hour, such
// as @hourly and */15 * * * *, follow the elapsed time instead, as in Vixie's cron: hourly
// stays hourly. The slots of @every are counted from 1970, so that they don't hang on when
// a process began.
type Schedule struct {
	text     string
	location *time.Location
	every    time.Duration // of @every, else 0
	fields   cron.SpecSchedule
}

// allHours are the bits of the hours field of "every hour".
const allHours = 1<<24 - 1

// horizon is how many years ahead a slot is looked for; robfig/cron looks five
// years ahead.
const horizon = 5

// Restore reads what String wrote.
func Restore(text string) (*Schedule, error) {
	at := strings.LastIndex(text, " ")
	if at < 0 {
		return nil, fmt.Errorf("%q has no time zone", text)
	}
	location, err := time.LoadLocation(text[at+1:])
	if err != nil {
		return nil, err
	}
	return read(text[:at], location)
}

// String returns the expression and its time zone, for Restore.
func (s *Schedule) String() string { return s.text + " " + s.location.String() }

// Text returns the expression.
func (s *Schedule) Text() string { return s.text }

// Next returns the first slot after a moment, in the schedule's time zone and in
// whole seconds; the zero time if there is none.
func (s *Schedule) Next(after time.Time) time.Time {
	if s.every > 0 {
		seconds := int64(s.every / time.Second)
		return time.Unix((after.Unix()/seconds+1)*seconds, 0).In(s.location)
	}
	elapsed := s.fields.Hour&allHours == allHours
	last := after.AddDate(horizon, 0, 0)
	for after.Before(last) {
		// Up to the next change of the zone's offset there are no gaps.
		from := after.In(s.location)
		begin, end := from.ZoneBounds()
		offset := offsetOf(from)
		wall := s.fields.Next(after.UTC().Add(offset))
		if wall.IsZero() && end.IsZero() {
			return time.Time{}
		}
		slot := wall.Add(-offset)
		switch {
		case end.IsZero() || (!wall.IsZero() && slot.Before(end)):
			if !elapsed && repeated(slot, begin, offset, s.location) {
				after = slot
				continue
			}
			return slot.In(s.location)
		case !elapsed && !wall.IsZero() && slot.Before(end.Add(offsetOf(end.In(s.location))-offset)):
			// It would be in the gap.
			return end.In(s.location)
		}
		// The moment of the change itself is a candidate too.
		if slot, ok := s.firstAfterChange(end, elapsed); ok {
			return slot
		}
		after = end
	}
	return time.Time{}
}

// firstAfterChange tells whether the very moment of a change is a slot.
func (s *Schedule) firstAfterChange(change time.Time, elapsed bool) (time.Time, bool) {
	at := change.In(s.location)
	offset := offsetOf(at)
	wall := at.UTC().Add(offset)
	if !s.fields.Next(wall.Add(-time.Second)).Equal(wall) {
		return time.Time{}, false
	}
	return at, elapsed || !repeated(at, change, offset, s.location)
}

// repeated tells whether the wall clock showed a slot's time before the change at
// the beginning of its zone's bounds already.
func repeated(slot, begin time.Time, offset time.Duration, location *time.Location) bool {
	if begin.IsZero() {
		return false
	}
	before := offsetOf(begin.Add(-time.Nanosecond).In(location))
	return slot.Add(offset - before).Before(begin)
}

func offsetOf(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
