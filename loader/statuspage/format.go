package statuspage

import (
	"math"
	"strconv"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
)

// rate writes events per second; a fraction says something only below ten.
func rate(perSecond float64) string {
	if perSecond > 0 && perSecond < 10 {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return human.Number(int64(math.Round(perSecond)))
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

// clock writes t in loc, with its zone.
func clock(t, now time.Time, loc *time.Location) string {
	return human.Clock(t.In(loc), now) + " " + human.Zone(t.In(loc))
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
		Text: clock(*t, now, loc),
		Ago:  human.WordsAgo(*t, now),
	}
}

// took writes how long a run took; a fraction says something only below ten seconds.
func took(seconds float64) string {
	if seconds < 10 {
		return strconv.FormatFloat(seconds, 'f', 1, 64) + "s"
	}
	return human.Seconds(seconds)
}
