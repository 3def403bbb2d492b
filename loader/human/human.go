// Package human has the formats in which people read numbers, times and words: one for
// all commands, alerts and pages.
package human

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// units of a duration, the greatest first.
var units = []struct {
	size time.Duration
	name string
}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}

// Duration writes d, rounded to seconds, with its two greatest units: 1h55m, 3d, 42s. What is
// below zero is 0s.
func Duration(d time.Duration) string {
	d = d.Round(time.Second)
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := strconv.Itoa(int(d/u.size)) + u.name
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += strconv.Itoa(int(rest)) + units[i+1].name
			}
		}
		return text
	}
	return "0s"
}

// Seconds is Duration of a number of seconds.
func Seconds(s float64) string { return Duration(time.Duration(s * float64(time.Second))) }

// Words writes d in words, and never more of it than has passed: less than a minute, 5 minutes,
// 2 hours 5 minutes, 7 hours, 3 days.
func Words(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return Count(int64(d/time.Minute), "minute")
	case d < 6*time.Hour && d%time.Hour >= time.Minute:
		return Count(int64(d/time.Hour), "hour") + " " + Count(int64(d%time.Hour/time.Minute), "minute")
	case d < 48*time.Hour:
		return Count(int64(d/time.Hour), "hour")
	}
	return Count(int64(d/(24*time.Hour)), "day")
}

// Ago says how far t is from now: 5s ago, in 2h.
func Ago(t, now time.Time) string {
	if t.After(now) {
		return "in " + Duration(t.Sub(now))
	}
	return Duration(now.Sub(t)) + " ago"
}

// WordsAgo is Ago in words, for clocks that differ: a minute ahead is now.
func WordsAgo(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d < -time.Minute:
		return "in " + Words(-d)
	case d < time.Minute:
		return "just now"
	default:
		return Words(d) + " ago"
	}
}

// Clock writes t in its zone, with as much of the date as now does not say: 15:04, 2 Jan 15:04.
func Clock(t, now time.Time) string {
	now = now.In(t.Location())
	switch {
	case t.Year() != now.Year():
		return t.Format("2 Jan 2006 15:04")
	case t.YearDay() != now.YearDay():
		return t.Format("2 Jan 15:04")
	}
	return t.Format("15:04")
}

// Zone abbreviates t's zone. Zones without letters are called by their offset: UTC-03.
func Zone(t time.Time) string {
	name, _ := t.Zone()
	if strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-") {
		return "UTC" + name
	}
	return name
}

// Time writes t in UTC, to the second: 2026-11-25 16:26:12Z.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// Exact is Time to the microsecond, for moments that are compared with those of rows.
func Exact(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999Z") }

// Number writes n with separators of thousands: 1,234,567.
func Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Count writes how many there are of a noun whose plural ends in s: 1 row, 1,234 rows.
func Count(n int64, noun string) string {
	return Number(n) + " " + Noun(n, noun, noun+"s")
}

// Noun chooses the noun for that many: batch, batches.
func Noun(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Times says how often: once, 3 times.
func Times(n int64) string {
	if n == 1 {
		return "once"
	}
	return Count(n, "time")
}

// Cut shortens text to n characters, the last of them an ellipsis.
func Cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// Join joins the parts that are not empty.
func Join(separator string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), separator)
}

// Line puts text on one line, with single spaces.
func Line(text string) string { return strings.Join(strings.Fields(text), " ") }

// Quote writes an argument as it can be pasted into a shell.
func Quote(argument string) string {
	special := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./", r)
	}
	if argument != "" && !strings.ContainsFunc(argument, special) {
		return argument
	}
	return "'" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
}
