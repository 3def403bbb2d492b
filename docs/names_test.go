//go:build unix

package docs_test

import (
	"errors"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
)

// read reads a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(text)
}

func TestDocuments_AreNarrow(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		if doc.name == "README.md" {
			require.LessOrEqual(t, len(doc.lines), 150)
		}
		for i, line := range doc.lines {
			// Rows of tables can't be broken.
			if doc.name == "README.md" || !strings.HasPrefix(line, "|") {
				require.LessOrEqual(t, len([]rune(line)), 160, "%s:%d", doc.name, i+1)
			}
		}
	}
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	span     = regexp.MustCompile("`([^`]+)`")
	notASlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slug is the anchor of a heading.
func slug(heading string) string {
	return strings.ReplaceAll(notASlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// headings returns the anchors of a document.
func headings(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if rest := strings.TrimLeft(line, "#"); rest != line && strings.HasPrefix(rest, " ") {
			all = append(all, slug(strings.TrimSpace(rest)))
		}
	}
	return all
}

func TestLinks_LeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		for i, line := range doc.lines {
			for _, found := range link.FindAllStringSubmatch(line, -1) {
				target, err := url.Parse(found[1])
				require.NoError(t, err)
				if target.Scheme != "" {
					continue
				}
				name := doc.name
				if target.Path != "" {
					name = filepath.Join(filepath.Dir(doc.name), target.Path)
				}
				require.FileExists(t, orFirst(name), "%s:%d", doc.name, i+1)
				if target.Fragment != "" {
					require.Contains(t, headings(read(t, name)), target.Fragment, "%s:%d", doc.name, i+1)
				}
			}
		}
	}
}

// orFirst returns the path of a file, or of the first file in a folder.
func orFirst(name string) string {
	path := filepath.Join(root, name)
	if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
		return filepath.Join(path, entries[0].Name())
	}
	return path
}

// code returns the pieces of code of a document: spans, and the lines of blocks that are no SQL and no
// output.
func (d *document) code(t *testing.T) []string {
	t.Helper()
	blocks := d.blocks(t)
	var all []string
	for i, line := range d.lines {
		in := slices.IndexFunc(blocks, func(b block) bool { return b.from <= i && i < b.to })
		switch {
		case in < 0:
			for _, found := range span.FindAllStringSubmatch(line, -1) {
				all = append(all, found[1])
			}
		case blocks[in].language == "console":
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				all = append(all, command)
			}
		case slices.Contains([]string{"sh", "crontab", "ini"}, blocks[in].language):
			all = append(all, line)
		}
	}
	return all
}

var (
	call     = regexp.MustCompile(`(?:^|[ /])(candu-loader|fake-segment)((?: [^\s|>&;#]+)+)`)
	flagName = regexp.MustCompile(`^--[a-z][a-z-]+`)
	word     = regexp.MustCompile(`^[a-z]+$`)
)

// help returns what a program says of a command, once for each.
type help map[string]string

func (h help) of(t *testing.T, program string, command ...string) string {
	t.Helper()
	key := program + " " + strings.Join(command, " ")
	if h[key] == "" {
		out, err := exec.Command(filepath.Join(programs, program), append(command, "--help")...).CombinedOutput()
		require.NoError(t, err, "%s\n%s", key, out)
		h[key] = string(out)
	}
	return h[key]
}

// knows reports whether a help text has the flag or command.
func knows(text, name string) bool {
	return regexp.MustCompile(`(?m)^\s+(-\w, )?` + regexp.QuoteMeta(name) + `\b`).MatchString(text)
}

func TestCommands_Exist(t *testing.T) {
	t.Parallel()
	h := help{}
	flags := everyFlag(t, h)
	for _, doc := range documents(t) {
		for _, code := range doc.code(t) {
			if name := flagName.FindString(code); name != "" {
				exists := slices.Contains(flags, name)
				require.True(t, exists, "%s: no command has %q", doc.name, name)
			}
			for _, found := range call.FindAllStringSubmatch(code, -1) {
				h.check(t, found[1], strings.Fields(found[2]), doc.name+": "+code)
			}
		}
	}
}

// check looks at a call as it stands in a document.
func (h help) check(t *testing.T, program string, words []string, where string) {
	t.Helper()
	var command []string
	for i, w := range words {
		afterFlag := i > 0 && slices.Contains([]string{"--config", "--log-level", "--log-format"}, words[i-1])
		text := h.of(t, program, command...)
		// list|retry stands for both.
		for name := range strings.SplitSeq(w, "|") {
			if word.MatchString(name) && !afterFlag && strings.Contains(text, "Available Commands:") {
				require.True(t, knows(text, name), "%s: no command %q", where, name)
				command = append(command, name)
				break
			}
		}
		if name := flagName.FindString(w); name != "" {
			require.True(t, knows(h.of(t, program, command...), name), "%s: no flag %q", where, name)
		}
	}
}

// everyFlag returns the flags of all commands.
func everyFlag(t *testing.T, h help) []string {
	t.Helper()
	var flags []string
	collect := func(text string) {
		for line := range strings.Lines(text) {
			if name := flagName.FindString(strings.TrimSpace(line)); name != "" {
				flags = append(flags, name)
			}
		}
	}
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`)
	collect(h.of(t, "fake-segment"))
	root := h.of(t, "candu-loader")
	collect(root)
	for _, found := range commands.FindAllStringSubmatch(root, -1) {
		text := h.of(t, "candu-loader", found[1])
		collect(text)
		if found[1] == "rejects" {
			collect(h.of(t, "candu-loader", "rejects", "list"))
		}
	}
	require.Greater(t, len(flags), 10)
	return flags
}

func TestMakeTargets_Exist(t *testing.T) {
	t.Parallel()
	makefile := read(t, "Makefile")
	target := regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	for _, doc := range documents(t) {
		for _, code := range doc.code(t) {
			for _, found := range target.FindAllStringSubmatch(code, -1) {
				exists := strings.Contains(makefile, "\n"+found[1]+":")
				require.True(t, exists, "%s: no target for `%s`", doc.name, code)
			}
		}
	}
}

func TestReadme_NamesTheGoVersion(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	require.Len(t, version, 2)
	require.Contains(t, read(t, "README.md"), "Go "+version[1]+" ")
}

// TestYAML_CanBeRead: what is to be copied must at least be YAML.
func TestYAML_CanBeRead(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		for _, b := range doc.blocks(t) {
			if b.language == "yaml" {
				var tree map[string]any
				err := yaml.Unmarshal([]byte(strings.Join(doc.lines[b.from:b.to], "\n")), &tree)
				require.NoError(t, err, "%s:%d", doc.name, b.from)
			}
		}
	}
}

func TestTests_Exist(t *testing.T) {
	t.Parallel()
	files, err := sources()
	require.NoError(t, err)
	var tests []string
	for name, text := range files {
		if strings.HasSuffix(name, "_test.go") {
			for _, found := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(text, -1) {
				tests = append(tests, found[1])
			}
		}
	}
	for _, doc := range documents(t) {
		for _, code := range doc.code(t) {
			if name, all := strings.CutSuffix(code, "*"); strings.HasPrefix(code, "Test") {
				require.True(t, slices.ContainsFunc(tests, func(test string) bool {
					return test == name || all && strings.HasPrefix(test, name)
				}), "%s: no test %q", doc.name, code)
			}
		}
	}
}

func TestRejects_HasEveryReason(t *testing.T) {
	t.Parallel()
	known := headings(read(t, "docs/rejects.md"))
	for _, reason := range event.Reasons() {
		require.Contains(t, known, string(reason))
	}
}

func TestOperations_NamesMetricsThatExist(t *testing.T) {
	t.Parallel()
	files, err := sources()
	require.NoError(t, err)
	text := read(t, "docs/operations.md")
	var code strings.Builder
	for name, text := range files {
		if strings.HasPrefix(name, "loader/serve/") && !strings.HasSuffix(name, "_test.go") {
			code.WriteString(text)
		}
	}
	_, table, found := strings.Cut(text, "| metric |")
	require.True(t, found)
	var documented []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 2 {
			continue
		}
		for _, name := range span.FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, name[1])
			exists := strings.Contains(code.String(), `"`+name[1]+`"`) // Without the code in the message.
			require.True(t, exists, "no metric %q", name[1])
		}
	}
	for _, name := range regexp.MustCompile(`(?:desc|counter)\("(\w+)"|Name: "(\w+)"`).FindAllStringSubmatch(code.String(), -1) {
		require.Contains(t, documented, name[1]+name[2])
	}
}

// TestConfiguration_HasEveryKey compares the page with what the program says that it knows.
func TestConfiguration_HasEveryKey(t *testing.T) {
	t.Parallel()
	text := "zzz: 1\nwarehouse: {zzz: 1}\nsegment: {zzz: 1}\nhttp: {zzz: 1}\nalerts: {zzz: 1}\nsources: [{zzz: 1, interactions: {zzz: 1}, verify: {zzz: 1}}]\n"
	_, err := config.Parse("config.yaml", []byte(text), os.LookupEnv)
	problems, ok := errors.AsType[config.Problems](err)
	require.True(t, ok, "%v", err)
	known := map[string]bool{}
	for _, p := range problems {
		section, unknown := strings.CutSuffix(p.Key, "zzz")
		_, keys, listed := strings.Cut(p.Hint, "Known here: ")
		if !unknown || !listed || section == "" {
			continue
		}
		for key := range strings.SplitSeq(strings.TrimSuffix(keys, "."), ", ") {
			known[strings.ReplaceAll(section, "[0]", "[]")+key] = true
		}
	}
	delete(known, "sources[].interactions")
	delete(known, "sources[].verify")
	documented := map[string]bool{}
	for line := range strings.Lines(read(t, "docs/configuration.md")) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for _, name := range span.FindAllStringSubmatch(cells[1], -1) {
				if strings.Contains(name[1], ".") {
					documented[name[1]] = true
				}
			}
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(documented)))
}
