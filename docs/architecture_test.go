//go:build unix

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	place = regexp.MustCompile(`^([\w.-]+(?:/[\w.-]+)+/?)(?::(\w+))?$`)
	files = regexp.MustCompile(`(?m)^(\S+/)\s|  (\S+/)(?:\s|$)`)
)

// tops are the folders that a path of ours begins with.
var tops = []string{"cmd/", "loader/", "queries/", "migrations/", "docs/", ".ci/"}

// TestPlaces_Exist looks for each path that a document names, and for what it says is in that file.
func TestPlaces_Exist(t *testing.T) {
	t.Parallel()
	named := 0
	var wrong []string
	for _, doc := range documents(t) {
		for _, code := range doc.code(t) {
			found := place.FindStringSubmatch(code)
			if found == nil || !begins(found[1]) {
				continue
			}
			text, err := os.ReadFile(orFirst(found[1]))
			if found[2] != "" {
				named++
			}
			if err != nil || found[2] != "" && !definition(found[1], found[2]).Match(text) {
				wrong = append(wrong, doc.name+": "+code)
			}
		}
	}
	require.Empty(t, wrong, "these are not there")
	require.Greater(t, named, 20)
}

func begins(path string) bool {
	for _, top := range tops {
		if strings.HasPrefix(path, top) {
			return true
		}
	}
	return false
}

// definition matches where a name is defined in a file.
func definition(path, name string) *regexp.Regexp {
	if filepath.Ext(path) == ".sql" {
		return regexp.MustCompile(`(?m)^-- name: ` + name + ` `)
	}
	return regexp.MustCompile(`(?m)^(func|type|var|const) (\(\w* ?\*?\w+\) )?` + name + `\b`)
}

// TestArchitecture_HasEveryPackage compares the tree with the folders that there are.
func TestArchitecture_HasEveryPackage(t *testing.T) {
	t.Parallel()
	_, tree, ok := strings.Cut(read(t, "ARCHITECTURE.md"), "## The tree\n")
	require.True(t, ok)
	tree, _, _ = strings.Cut(tree, "## Words")
	all, err := sources()
	require.NoError(t, err)
	for name := range all {
		dir := filepath.Dir(name)
		if filepath.Ext(name) == ".go" && strings.HasPrefix(name, "loader/") && !strings.Contains(dir, "testdata") {
			require.Contains(t, tree, dir+"/ ", "no line for it")
		}
	}
	for _, found := range files.FindAllStringSubmatch(tree, -1) {
		require.DirExists(t, filepath.Join(root, found[1]+found[2]))
	}
}
