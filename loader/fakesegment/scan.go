package fakesegment

import "bytes"

// A batch has megabytes a second in a demo, and encoding/json copies what it decodes
// several times. So a body is validated by encoding/json and then only cut into
// pieces. These functions take valid JSON and know nothing of mistakes.

// members calls f with the key and the value of each member of an object, both as
// they stand there, quotes and escapes included.
func members(object []byte, f func(key, value []byte)) {
	for i := space(object, 1); object[i] != '}'; {
		keyEnd := skip(object, i)
		start := space(object, space(object, keyEnd)+1) // after the colon
		end := skip(object, start)
		f(object[i:keyEnd], object[start:end])
		i = next(object, end)
	}
}

// elements calls f with each element of an array.
func elements(array []byte, f func(value []byte)) {
	for i := space(array, 1); array[i] != ']'; {
		end := skip(array, i)
		f(array[i:end])
		i = next(array, end)
	}
}

// next returns where the next member begins, or the closing bracket stands.
func next(b []byte, i int) int {
	if i = space(b, i); b[i] == ',' {
		i = space(b, i+1)
	}
	return i
}

// space returns the first place from i on that is no white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skip returns the end of the value that begins at i.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	default:
		if end := bytes.IndexAny(b[i:], ",]} \n\t\r"); end >= 0 {
			return i + end
		}
		return len(b)
	}
}

// skipString returns the end of the string whose opening quote stands at i.
func skipString(b []byte, i int) int {
	for i++; ; i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
}
