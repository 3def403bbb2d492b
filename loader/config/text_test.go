package config_test

import (
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
)

// What a file is made of is said once and by name, whatever an editor or a template made it.
func TestParse_Text(t *testing.T) {
	t.Parallel()
	const good = "warehouse: {url: postgres://localhost/w}\nsources: [{nickname: A, write_key: s3cr3t, schema: a}]\n"
	_, err := config.Parse("x.yaml", []byte(good), environment(nil))
	require.NoError(t, err)
	in := func(unit int, order binary.ByteOrder, text string) string {
		bytes := []byte{}
		for _, r := range text {
			code := make([]byte, 4)
			if order.PutUint32(code, uint32(r)); unit == 2 {
				order.PutUint16(code, uint16(r))
			}
			bytes = append(bytes, code[:unit]...)
		}
		return string(bytes)
	}
	for name, c := range map[string]struct{ text, want string }{
		"a byte order mark":             {"\ufeff" + good, "x.yaml:1: the file begins with a byte order mark"},
		"a byte order mark, two":        {"\ufeff---\n" + good, "x.yaml:1: the file begins with a byte order mark"},
		"UTF-16, little endian":         {in(2, binary.LittleEndian, "\ufeff"+good), "x.yaml:1: the file is UTF-16"},
		"UTF-16, big endian":            {in(2, binary.BigEndian, "\ufeff"+good), "x.yaml:1: the file is UTF-16"},
		"UTF-16 without its mark":       {in(2, binary.LittleEndian, good), "x.yaml:1: the file is UTF-16"},
		"UTF-16, big, without its mark": {in(2, binary.BigEndian, good), "x.yaml:1: the file is UTF-16"},
		"UTF-32":                        {in(4, binary.LittleEndian, "\ufeff"+good), "x.yaml:1: the file is UTF-16 or UTF-32"},
		"UTF-32, big endian":            {in(4, binary.BigEndian, good), "x.yaml:1: the file is UTF-16 or UTF-32"},
		"Latin-1":                       {good + "# pr\xeat\n", "x.yaml:3: has bytes that are no UTF-8"},
		"a NUL byte":                    {good + "\x00", "x.yaml:3: has a NUL byte"},
		"a second document":             {good + "---\n" + good, "x.yaml:4: a second YAML document begins"},
		"a second one after its end":    {good + "...\n" + good, "x.yaml:4: a second YAML document begins"},
		"a second one behind nothing":   {good + "---\n---\n" + good, "x.yaml:5: a second YAML document begins"},
		"two beginnings":                {"---\n---\n" + good, "x.yaml:3: a second YAML document begins"},
		"a comment before it alone":     {"# c\n---\n# d\n---\n" + good, "x.yaml:5: a second YAML document begins"},
		"an end before it":              {"---\n...\n---\n" + good, "x.yaml:4: a second YAML document begins"},
		"three beginnings":              {"---\n---\n---\n" + good, "x.yaml:4: a second YAML document begins"},
		"nothing twice":                 {"---\n---\n# nothing\n", "x.yaml: the file is empty"},
		"too long":                      {good + strings.Repeat("# comment\n", 200_000), "at most 1048576 are read"},
		"deep, flow":                    {strings.Repeat("[", 100_000), "x.yaml:1: is nested deeper than 32 levels"},
		"deep, flow over lines":         {strings.Repeat("{a:\n", 100_000), "x.yaml:33: is nested deeper than 32 levels"},
		"deep, block":                   {"a:\n  " + strings.Repeat("- ", 100_000) + "a", "x.yaml:2: is nested deeper than 32 levels"},
		"deep, keys":                    {strings.Repeat("? ", 100_000) + "a", "x.yaml:1: is nested deeper than 32 levels"},
	} {
		_, err := config.Parse("x.yaml", []byte(c.text), environment(nil))
		require.ErrorContains(t, err, c.want, name)
		require.Contains(t, strings.SplitN(err.Error(), "\n", 2)[0], c.want, "first: %s", name)
		require.NotContains(t, err.Error(), "s3cr3t", name)
	}
	for name, text := range map[string]string{
		"its own beginning": "# comment\n---\n" + good, "its end": good + "...\n", "nothing behind it": good + "---\n# nothing\n", "nothing before it": "---\n" + good,
		"a directive": "%YAML 1.2\n---\n" + good, "signs in quotes": strings.Replace(good, "s3cr3t", `"*s3cr3t&<<"`, 1), "CRLF": strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		_, err := config.Parse("x.yaml", []byte(text), environment(nil))
		require.NoError(t, err, name)
	}
}

// Zones are known where the machine has no tz database, as in an empty image.
func TestTimeZones_AreCompiledIn(t *testing.T) {
	t.Parallel()
	dependencies, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, strings.Fields(string(dependencies)), "time/tzdata")
}

// What Postgres reserves is no role that can be made, or another one each time.
func TestLoad_ReadersThatAreNoRoles(t *testing.T) {
	t.Parallel()
	for _, reader := range []string{"public", "PUBLIC", "none", "current_user", "session_user"} {
		_, err := config.Parse("x.yaml", []byte("warehouse: {url: postgres://x@db/w, readers: ["+reader+"]}\nsources: [{nickname: A, write_key: k}]\n"), environment(nil))
		require.ErrorContains(t, err, `"`+reader+`" is no role`)
	}
}
