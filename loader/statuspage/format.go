package statuspage

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// number writes n with separators of thousands.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return sign + b.String()
}

// rate writes events per second; a fraction says something only below ten.
func rate(perSecond float64) string {
	if perSecond > 0 && perSecond < 10 {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return number(int64(math.Round(perSecond)))
}

// compact writes an axis label: 1.5M, 120k.
func compact(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if n >= unit.size {
			return strconv.FormatFloat(math.Round(n/unit.size*10)/10, 'f', -1, 64) + unit.name
		}
	}
	return strconv.FormatFloat(math.Round(n*10)/10, 'f', -1, 64)
}

// took writes a duration in few characters: 0.4 s, 42 s, 3 min 20 s, 2 h 5 min.
func took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(seconds)) + " s"
	case d < time.Hour:
		return pair(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	default:
		return pair(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
}

func pair(large int, unit string, small int, smallUnit string) string {
	text := number(int64(large)) + " " + unit
	if small > 0 {
		text += " " + strconv.Itoa(small) + " " + smallUnit
	}
	return text
}

// span writes a duration in words, never more of it than has passed.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return plural(int64(d.Minutes()), "minute")
	case d < 6*time.Hour:
		words := plural(int64(d.Hours()), "hour")
		if minutes := int64(d.Minutes()) % 60; minutes > 0 {
			words += " " + plural(minutes, "minute")
		}
		return words
	case d < 48*time.Hour:
		return plural(int64(d.Hours()), "hour")
	default:
		return plural(int64(d.Hours()/24), "day")
	}
}

// brief is span in few characters.
func brief(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "< 1 min"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return pair(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	default:
		return number(int64(d.Hours()/24)) + " d"
	}
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// ago says how far t is from now. Clocks differ: a few seconds ahead are now.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + span(-d)
	case d < time.Minute:
		return "just now"
	default:
		return span(d) + " ago"
	}
}

// location finds a source's zone; UTC is right for what can't be found.
func location(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return loc
}

// zone abbreviates t's zone. Zones without letters are called by their offset.
func zone(t time.Time) string {
	name, _ := t.Zone()
	if strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-") {
		return "UTC" + name
	}
	return name
}

// clock writes t in loc, with as much of the date as now does not say.
func clock(t, now time.Time, loc *time.Location) string {
	t, now = t.In(loc), now.In(loc)
	switch {
	case t.Year() != now.Year():
		return t.Format("2 Jan 2006 15:04")
	case t.YearDay() != now.YearDay():
		return t.Format("2 Jan 15:04")
	default:
		return t.Format("15:04")
	}
}

// moment is a time as the page shows it.
type moment struct{ ISO, Text, Ago string }

// stamp makes a moment, nil of no time.
func stamp(t *time.Time, now time.Time, loc *time.Location) *moment {
	if t == nil || t.IsZero() {
		return nil
	}
	return &moment{
		ISO:  t.UTC().Format(time.RFC3339),
		Text: clock(*t, now, loc) + " " + zone(t.In(loc)),
		Ago:  ago(*t, now),
	}
}

// cut shortens s to n characters for a place where it has no room.
func cut(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n]) + "…"
}

// shellWord quotes s for a command that is copied into a shell.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-/", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" && !strings.HasPrefix(s, "-") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
