package matcher

import (
	"cmp"
	"net/mail"
	"strings"

	"github.com/tidwall/gjson"
)

const (
	// maxList is how many recipients, or attachments, a payload holds. Each takes many more bytes there than it
	// need take in a call, so that a hostile one could make a payload of many times its size.
	maxList = 1_000
	// maxAddresses is how long a text with addresses of recipients may be, in bytes.
	maxAddresses = 64 << 10
)

// person is who wrote a reply, gets it, or made the ticket.
type person struct {
	id, name, email string
	externalID      gjson.Result
}

func (p *person) known() bool { return p.id != "" || p.name != "" || p.email != "" }

// text is what is told of a person where one look is all.
func (p *person) text() string { return cmp.Or(p.email, p.id, p.name) }

// person reads an object, or a text that can only be an address or an id. It is that of a field, or one of those in it.
func (d *derivation) person(field string, r gjson.Result) person {
	text := parseText(r).text
	if strings.Contains(text, "@") {
		return person{email: text}
	}
	if text != "" {
		return person{id: text}
	}
	v := inside(r)
	if v.json == "" {
		return person{}
	}
	v.name = field
	part := func(field string) string { return d.read(v, field, parseText).text }
	p := person{id: part(personID), name: part(personName), email: part(personEmail)}
	for _, c := range d.fields[personExternalID] {
		p.externalID = v.get(c.text)
		text := parseText(p.externalID).text
		d.x.look(personExternalID, v.name, c, text)
		if text != "" {
			break
		}
	}
	return p
}

// author returns who wrote a reply: the first found in the request, else in the response. What is not known
// of them there, the other places may tell, where they tell of the same id or address.
func (d *derivation) author() person {
	var author person
	for _, v := range []view{d.request, d.response} {
		for _, c := range d.fields[replyAuthor] {
			p := d.person(replyAuthor, d.result(v, c))
			if !author.known() {
				d.x.look(replyAuthor, v.name, c, p.text())
				author = p
				continue
			}
			author.complete(p)
		}
	}
	return author
}

// complete adds what q knows of the same person.
func (p *person) complete(q person) {
	same := (p.id != "" && p.id == q.id) || (p.email != "" && p.email == q.email && (p.id == "" || q.id == ""))
	if !same {
		return
	}
	if p.id == "" {
		p.id = q.id
	}
	if p.name == "" {
		p.name = q.name
	}
	if p.email == "" {
		p.email = q.email
	}
	if parseText(p.externalID).text == "" {
		p.externalID = q.externalID
	}
}

// result returns what stands at a candidate.
func (d *derivation) result(v view, c Source) gjson.Result {
	if c.kind == inObject {
		return v.get(c.text)
	}
	return gjson.Result{Type: gjson.String, Str: d.x.find(c)}
}

// recipients returns to whom a reply was sent: of the first candidate that names somebody.
func (d *derivation) recipients(field string) []person {
	for _, v := range []view{d.request, d.response} {
		for _, c := range d.fields[field] {
			people := d.people(field, d.result(v, c))
			d.x.lookAll(field, v.name, c, len(people), func(i int) string { return people[i].text() })
			if len(people) > 0 {
				return people
			}
		}
	}
	return nil
}

// people reads a list of persons, of which one with neither address nor name is nobody. A text is a list of
// addresses (RFC 5322 section 3.4).
func (d *derivation) people(field string, r gjson.Result) []person {
	var people []person
	for _, element := range elements(r) {
		if element.Type == gjson.String {
			people = append(people, addresses(element.Str)...)
		} else if p := d.person(field, element); p.email != "" || p.name != "" {
			people = append(people, p)
		}
		if len(people) >= maxList {
			return people[:maxList]
		}
	}
	return people
}

// addresses reads a text that is one address at least.
func addresses(text string) []person {
	if !strings.Contains(text, "@") || len(text) > maxAddresses {
		return nil
	}
	list, err := mail.ParseAddressList(text)
	if err != nil {
		return []person{{email: text}}
	}
	people := make([]person, len(list))
	for i, a := range list {
		people[i] = person{name: a.Name, email: a.Address}
	}
	return people
}

// elements returns the elements of a list, no more than 1,000, or what is no list as the only one.
func elements(r gjson.Result) []gjson.Result {
	if !r.IsArray() {
		return []gjson.Result{r}
	}
	var list []gjson.Result
	r.ForEach(func(_, element gjson.Result) bool {
		list = append(list, element)
		return len(list) < maxList
	})
	return list
}
