package schedule

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/robfig/cron/v3"
)

// ErrTimeZone says that an expression has a time zone in it.
var ErrTimeZone = errors.New("the time zone does not belong here")

// Parse reads a cron expression of five fields or a descriptor. One whose slots
// never come is an error.
func Parse(text string, location *time.Location) (*Schedule, error) {
	s, err := read(text, location)
	if err == nil && !strings.HasPrefix(text, "@") {
		if err := gaps(text); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
	}
	return s, err
}

// read is Parse for what an older version may have taken.
func read(text string, location *time.Location) (*Schedule, error) {
	if strings.Contains(strings.ToUpper(text), "TZ=") {
		return nil, fmt.Errorf("%q: %w", text, ErrTimeZone)
	}
	if err := foreign(text); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	parsed, err := parser.Parse(sundays(text))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	s := &Schedule{text: text, location: location}
	switch parsed := parsed.(type) { // The parser makes no others.
	case cron.ConstantDelaySchedule:
		s.every = parsed.Delay
	case *cron.SpecSchedule:
		s.fields = *parsed
		s.fields.Location = time.UTC
	}
	if s.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("%q never comes", text)
	}
	return s, nil
}

var (
	beside = regexp.MustCompile(`[,/-]\s|\s[,/-]`)
	// others are what Quartz, AWS and Jenkins know beside cron's numbers, names and signs: L, 3L, L-3,
	// LW, 15W, 5#2, H, H/15, H(0-29).
	others = regexp.MustCompile(`(?i)(?:^|[\s,])(?:[0-9]*(LW|L|W)|(?:[0-9]+|[a-z]{3})(#)[0-9]+|(?:sun|mon|tue|wed|thu|fri|sat)(L)|(H))(?:$|[\s,/(-])`)
)

// words are what the other dialects mean.
var words = map[string]string{
	"L": "L, the last, is none of cron's signs", "W": "W, the nearest working day, is none of cron's signs", "LW": "LW, the last working day, is none of cron's signs",
	"#": "#, the n-th weekday of a month, is none of cron's signs", "H": "H is Jenkins', cron has no hash: choose a number",
}

// foreign says in words of its own what the parser would call a number that it can't read, or, as with a
// period of less than a second, would take for something else.
func foreign(text string) error {
	trimmed := strings.TrimSpace(text)
	sign := others.FindStringSubmatch(text)
	switch {
	case text == "":
		return nil // The parser's own words are plain.
	case trimmed == "":
		return errors.New("there is nothing but blanks")
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }):
		return errors.New("has a character that can't be seen: type it anew")
	case strings.HasPrefix(trimmed, "@") && trimmed != text:
		return errors.New("has a blank around it")
	case strings.HasPrefix(text, "@every"):
		return period(strings.TrimPrefix(text, "@every"))
	case strings.HasPrefix(text, "@") && strings.ContainsFunc(text, unicode.IsSpace):
		return errors.New("has a blank in it")
	case strings.HasPrefix(text, "@"):
		return nil
	case beside.MatchString(trimmed):
		return errors.New("has a blank beside a comma, a hyphen or a slash: 1,2 and 1-5 and */15 are written without")
	case sign != nil:
		return errors.New(words[strings.ToUpper(sign[1]+sign[2]+sign[3]+sign[4])])
	case len(strings.Fields(text)) > 5:
		return fmt.Errorf("has %d fields, expected five: there is none for seconds or years", len(strings.Fields(text)))
	}
	return nil
}

// gaps finds what the parser passes over: a list with nothing between two commas, and a step beyond all that the field
// has, which means its first value alone.
func gaps(text string) error {
	for i, field := range strings.Fields(text) {
		for part := range strings.SplitSeq(field, ",") {
			_, step, _ := strings.Cut(part, "/")
			by, err := strconv.Atoi(step)
			switch size := []int{60, 24, 31, 12, 7}[i]; {
			case part == "":
				return fmt.Errorf("has a comma too many in %s", field)
			case err == nil && by >= size:
				return fmt.Errorf("has a step of %d in %s: the field has %d values", by, part, size)
			}
		}
	}
	return nil
}

// period checks what @every is followed by: slots are counted in whole seconds.
func period(text string) error {
	duration, found := strings.CutPrefix(text, " ")
	every, err := time.ParseDuration(duration)
	switch {
	case !found, strings.ContainsFunc(duration, unicode.IsSpace):
		return errors.New("expected one blank, behind @every, as in @every 30m")
	case err == nil && (every < time.Second || every%time.Second != 0):
		return fmt.Errorf("expected whole seconds, at least one, found %s", every)
	}
	return nil
}

// sundays writes the day 7 of the fifth field, which is Sunday in every cron, as the 0 that the parser knows.
func sundays(text string) string {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return text
	}
	days := strings.Split(fields[4], ",")
	for i, part := range days {
		span, step, _ := strings.Cut(part, "/")
		first, last, isRange := strings.Cut(span, "-")
		from, ok := weekday(first)
		to, sunday := weekday(last)
		switch by, err := strconv.Atoi(step); {
		case !isRange && ok && from == 7:
			days[i] = "0"
		case isRange && ok && sunday && (to == 7 || to == 0 && from > 0) && (step == "" || err == nil && by > 0):
			var list []string
			for day := from; day <= 7; day += max(1, by) {
				list = append(list, strconv.Itoa(day%7))
			}
			days[i] = strings.Join(list, ",")
		}
	}
	fields[4] = strings.Join(days, ",")
	return strings.Join(fields, " ")
}

// weekday reads a day of the week, 7 for the Sunday at its end; ok is false if it is none.
func weekday(text string) (day int, ok bool) {
	for day, name := range []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} {
		if strings.EqualFold(text, name) {
			return day, true
		}
	}
	day, err := strconv.Atoi(text)
	return day, err == nil && day >= 0 && day <= 7
}
