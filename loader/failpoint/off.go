//go:build !failpoint

// Package failpoint lets the torture suite kill or stop the loader at named places, and switch
// off one of its safeguards to see that the suite notices. Only a build with the tag failpoint does
// so; in every other build it is nothing at all.
package failpoint

// At does nothing.
func At(string) {}

// Without is false.
func Without(string) bool { return false }
