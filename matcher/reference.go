package matcher

import (
	"strings"
	"unicode"
)

// TicketReference is how the payloads of instance events name a ticket: the project in capitals without
// punctuation, a hyphen, and the number padded to 8 digits, such as PROJECTNAME-00110063. Longer numbers keep all
// of their digits. An id that is no number without leading zeros stands as it is, without the project.
// Nor is there a hyphen if nothing is left of the project: only letters, their marks and digits are.
func TicketReference(project, id string) string {
	if !isInteger(id) || id[0] == '-' {
		return id
	}
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			return r
		}
		return -1
	}, strings.ToUpper(project))
	if name != "" {
		name += "-"
	}
	return name + strings.Repeat("0", max(0, 8-len(id))) + id
}
