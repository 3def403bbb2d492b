//go:build unix

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConsole tries each document in the worlds that it names: SQL and configurations are used, and
// commands print what the document shows. With -update the documents are written anew.
func TestConsole(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	edits := map[string][]edit{}
	docs := documents(t)
	t.Cleanup(func() { // After all worlds.
		for _, doc := range docs {
			if *update && !t.Failed() {
				require.NoError(t, doc.rewrite(edits[doc.name]))
			}
		}
	})
	for _, doc := range docs {
		for name, blocks := range doc.worlds(t) {
			t.Run(doc.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := enter(t, name)
				for _, b := range blocks {
					made := w.try(t, doc, b)
					mu.Lock()
					edits[doc.name] = append(edits[doc.name], made...)
					mu.Unlock()
				}
			})
		}
	}
}

// worlds returns the blocks that are tried, by their world.
func (d *document) worlds(t *testing.T) map[string][]block {
	t.Helper()
	all := map[string][]block{}
	for _, b := range d.blocks(t) {
		if b.language == "console" {
			require.NotEmpty(t, b.world, "%s:%d: a console block needs a world: %sNAME -->", d.name, b.from, worldComment)
		}
		if b.world != "" {
			all[b.world] = append(all[b.world], b)
		}
	}
	return all
}

// try uses one block, and returns how the document would have to change.
func (w *world) try(t *testing.T, doc document, b block) []edit {
	t.Helper()
	text := strings.Join(doc.lines[b.from:b.to], "\n") + "\n"
	switch b.language {
	case "sql":
		w.query(t, text)
	case "yaml":
		w.configure(t, text)
	case "console":
		return w.console(t, doc, b)
	default:
		require.Fail(t, "nothing can be tried", "%s:%d: language %q", doc.name, b.from, b.language)
	}
	return nil
}

// console runs the commands of a block and compares what they print.
func (w *world) console(t *testing.T, doc document, b block) []edit {
	t.Helper()
	w.fillOnce(t)
	var edits []edit
	code := 0
	for at := b.from; at < b.to; {
		command, ok := strings.CutPrefix(doc.lines[at], "$ ")
		require.True(t, ok, "%s:%d: a console block begins with a command", doc.name, at+1)
		from, to := at+1, at+1
		// make shows commands itself, so the rest of the block is its output.
		for to < b.to && (strings.HasPrefix(command, "make ") || !strings.HasPrefix(doc.lines[to], "$ ")) {
			to++
		}
		at = to
		for to > from && doc.lines[to-1] == "" {
			to--
		}
		require.False(t, code != 0 && command != "echo $?", "%s:%d: the command before ended with %d; show it with $ echo $?", doc.name, from, code)
		want := doc.lines[from:to]
		var out string
		out, code = w.run(t, command, len(want), code)
		got := elide(want, shorten(lines(out)))
		switch {
		case *update && *all, *update && !same(want, got):
			edits = append(edits, edit{from, to, got})
		case same(want, got):
		default:
			require.Equal(t, strings.Join(normalized(want), "\n"), strings.Join(normalized(got), "\n"),
				"%s:%d: $ %s\nprints something else; if it should, write it down with: go test ./docs -update", doc.name, from, command)
		}
	}
	require.Zero(t, code, "%s:%d: the last command ended with that; show it with $ echo $?", doc.name, b.to)
	return edits
}

// slow is in a line that a run writes because it takes long: on a busy machine any does.
const slow = `msg="still running"`

func lines(out string) []string {
	if out == "" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(strings.TrimRight(out, "\n"), "\n"), func(line string) bool { return strings.Contains(line, slow) })
}

// elide leaves out of an output what the document leaves out: a line of dots stands for any number of
// lines. What stands between two such lines is found by its first line; of the beginning and the end
// as many lines are kept as the document has.
func elide(want, got []string) []string {
	parts := split(want, cutMark)
	if len(parts) == 1 {
		return got
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(got) < len(first)+len(last) {
		return got
	}
	out, rest := slices.Clone(got[:len(first)]), got[len(first):len(got)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at := slices.Index(normalized(rest), normalized(part)[0])
		if at < 0 || len(rest) < at+len(part) {
			return got
		}
		out, rest = append(append(out, cutMark), rest[at:at+len(part)]...), rest[at+len(part):]
	}
	return append(append(out, cutMark), got[len(got)-len(last):]...)
}

// split cuts lines at those that equal mark.
func split(lines []string, mark string) [][]string {
	parts := [][]string{nil}
	for _, line := range lines {
		if line == mark {
			parts = append(parts, nil)
			continue
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], line)
	}
	return parts
}

// edit replaces lines of a document.
type edit struct {
	from, to int
	lines    []string
}

func (d *document) rewrite(edits []edit) error {
	if len(edits) == 0 {
		return nil
	}
	slices.SortFunc(edits, func(a, b edit) int { return b.from - a.from })
	for _, e := range edits {
		d.lines = slices.Replace(d.lines, e.from, e.to, e.lines...)
	}
	return os.WriteFile(filepath.Join(root, d.name), []byte(strings.Join(d.lines, "\n")+"\n"), 0o644)
}

// variables are what differs from one run to the next, and what stands for it.
var variables = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| UTC|[+-]\d\d:\d\d)?`), "<time>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "<date>"},
	{regexp.MustCompile(`\b(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?m?s)\b|\b(\d+d)?\d+h(\d+m)?\b|\b\d+d(\d+h)?\b|\b\d+m\b`), "<duration>"},
	{regexp.MustCompile(`\b\d+(\.\d+)? s\b`), "<seconds>"},
	{regexp.MustCompile(`seconds=[\d.]+`), "seconds=<seconds>"},
	{regexp.MustCompile(`\b[\d,]+ (events|rows)/s`), "<rate>"},
	{regexp.MustCompile(`\b127\.0\.0\.1:\d+`), "<address>"},
	{regexp.MustCompile(`Postgres \d+(\.\d+)?( \([^)]*\))?`), "Postgres <version>"},
	{regexp.MustCompile(`by [\w.-]+:\d+:[0-9a-f]{8}`), "by <holder>"},
	{regexp.MustCompile(`of server \d+`), "of server <system>"},
	{regexp.MustCompile(`receipt [0-9a-f]{12}`), "receipt <number>"},
	{regexp.MustCompile(`by \S+@\S+`), "by <operator>"},
}

func normalized(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		for _, v := range variables {
			line = v.pattern.ReplaceAllString(line, v.name)
		}
		out[i] = line
	}
	return out
}

const (
	widest  = 150
	cutMark = "..."
)

// shorten cuts lines that nobody reads to the end. It cuts between variables, so that both sides of a
// comparison are cut alike.
func shorten(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		line = strings.TrimRight(line, " ")
		if len([]rune(line)) > widest {
			line = line[:cut(line)] + cutMark
		}
		out[i] = line
	}
	return out
}

func cut(line string) int {
	end := len(string([]rune(line)[:widest-len(cutMark)]))
	if space := strings.LastIndexAny(line[:end], " ,"); space > widest/2 {
		end = space + 1
	}
	for _, v := range variables {
		for _, found := range v.pattern.FindAllStringIndex(line, -1) {
			if found[0] < end && end < found[1] {
				end = found[0]
			}
		}
	}
	return end
}

// same reports whether two outputs differ in nothing but variables. A line that ends with dots
// stands for every line that begins like it.
func same(want, got []string) bool {
	want, got = normalized(want), normalized(got)
	return slices.EqualFunc(want, got, func(want, got string) bool {
		start, wantCut := strings.CutSuffix(want, cutMark)
		other, gotCut := strings.CutSuffix(got, cutMark)
		return want == got || wantCut && strings.HasPrefix(other, start) || gotCut && strings.HasPrefix(start, other)
	})
}
