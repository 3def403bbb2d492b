package config

import (
	"regexp"
	"strings"
)

// maxSchemaLength leaves room for the suffixes that tools append to a schema's name
// below Postgres's limit of 63 bytes.
const maxSchemaLength = 46

var (
	notSchema  = regexp.MustCompile(`[^a-z0-9_]+`)
	schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
)

// SchemaName returns the name of the schema for a source's nickname: lower case,
// everything that is no letter, digit or _ becomes one _, none at the ends, and a leading
// digit gets _ in front, as Segment does it. At most 46 characters. A nickname
// without a letter or digit has no schema.
func SchemaName(nickname string) (string, error) {
	name := strings.Trim(notSchema.ReplaceAllString(strings.ToLower(nickname), "_"), "_")
	if strings.IndexAny(name, "0123456789") == 0 {
		name = "_" + name
	}
	if len(name) > maxSchemaLength {
		name = strings.TrimRight(name[:maxSchemaLength], "_")
	}
	if name == "" {
		return "", invalid("Add:  schema: <name>", "nickname %q has no letter or digit to make a schema name from", nickname)
	}
	return name, nil
}

// checkSchema says what is wrong with a schema's name.
func checkSchema(name string) error {
	const example = "For example candu_prod"
	switch {
	case !schemaName.MatchString(name):
		return invalid(example, "%q: expected lower-case letters, digits and _, not beginning with a digit", name)
	case len(name) > maxSchemaLength:
		return invalid(example, "%q has %d characters, at most %d are allowed", name, len(name), maxSchemaLength)
	case strings.HasPrefix(name, "pg_") || name == "public" || name == "information_schema":
		return invalid(example, "%q is not for the loader: it needs a schema of its own", name)
	}
	return nil
}
