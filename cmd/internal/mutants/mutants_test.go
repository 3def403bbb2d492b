package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// promises returns the rows of docs/guarantees.md by their first cell, and the mutants that each
// names.
func promises(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/guarantees.md"))
	require.NoError(t, err)
	names := regexp.MustCompile("`([a-z0-9-]+)`")
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "|") {
			continue
		}
		promise := strings.TrimSpace(cells[0])
		rows[promise] = []string{}
		for _, name := range names.FindAllStringSubmatch(cells[3], -1) {
			rows[promise] = append(rows[promise], name[1])
		}
	}
	return rows
}

// Each mutant fits the program of today, and the list of promises names it where it belongs.
func TestMutants_Fit(t *testing.T) {
	t.Parallel()
	mutants, err := load(root)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(mutants), 60)
	named := map[string][]string{}
	for _, m := range mutants {
		_, err := m.apply(root)
		require.NoError(t, err)
		files, err := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
		require.NoError(t, err)
		var text strings.Builder
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			text.Write(content)
		}
		for _, test := range m.tests {
			top, _, _ := strings.Cut(test, "/")
			require.Contains(t, text.String(), "func "+top+"(t *testing.T)", "%s: there is no such test in %s", m.name, m.pkg)
		}
		named[m.promise] = append(named[m.promise], m.name)
	}
	for promise, names := range promises(t) {
		var want []string
		for begin, found := range named {
			if strings.HasPrefix(promise, begin) {
				want = append(want, found...)
				delete(named, begin)
			}
		}
		require.ElementsMatch(t, want, names, "the mutants of %q in docs/guarantees.md", promise)
	}
	require.Empty(t, named, "promises that docs/guarantees.md does not have")
}

func TestParse(t *testing.T) {
	t.Parallel()
	m, err := parse("# why\npromise: P.\ntest: ./a TestX|TestY/z tags=failpoint\n--- f.go\n\told\n+++\n\tnew\n\tmore\n--- g.go\ngone\n+++\n")
	require.NoError(t, err)
	require.Equal(t, mutant{promise: "P.", pkg: "./a", tests: []string{"TestX", "TestY/z"}, tags: "failpoint",
		edits: []edit{{"f.go", "\told", "\tnew\n\tmore"}, {"g.go", "gone", ""}}}, m)
	require.Equal(t, "^(TestX|TestY)$", pattern(m.tests))
	for _, text := range []string{"", "promise: P.\n", "promise: P.\ntest: ./a TestX\n", "promise: P.\ntest: ./a TestX\n--- f\na\n", "promise: P.\ntest: ./a TestX\n--- f\na\n+++\na\n"} {
		_, err := parse(text)
		require.Error(t, err, text)
	}
}

// A text that does not stand exactly once is no mutant any more.
func TestApply(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("one two two"), 0o600))
	changed, err := (&mutant{edits: []edit{{"f", "one", "1"}, {"f", "two two", "2"}}}).apply(dir)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"f": "1 2"}, changed)
	for _, text := range []string{"two", "three"} {
		_, err = (&mutant{edits: []edit{{"f", text, ""}}}).apply(dir)
		require.ErrorContains(t, err, "expected once")
	}
}
