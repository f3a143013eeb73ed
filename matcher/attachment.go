package matcher

import (
	"cmp"

	"github.com/tidwall/gjson"
)

// attachment is a file that came with a reply.
type attachment struct{ id, url, name, contentType string }

// text is what is told of an attachment where one look is all.
func (a *attachment) text() string { return cmp.Or(a.name, a.id, a.url, a.contentType) }

// attachments returns the files of a reply. The response comes first, because the API gives a file its id
// and url. known is false if there may be some all the same.
func (d *derivation) attachments() (list []attachment, known bool) {
	for _, v := range []view{d.response, d.request} {
		for _, c := range d.fields[replyAttachments] {
			for _, element := range elements(d.result(v, c)) {
				if a := d.attachment(element); a != (attachment{}) {
					list = append(list, a)
				}
			}
			d.x.lookAll(replyAttachments, v.name, c, len(list), func(i int) string { return list[i].text() })
			if len(list) > 0 {
				return list, true
			}
		}
	}
	return nil, d.unseen == ""
}

// attachment reads an object, or a text or number, which is an id.
func (d *derivation) attachment(r gjson.Result) attachment {
	v := inside(r)
	if v.json == "" {
		return attachment{id: parseText(r).text}
	}
	v.name = replyAttachments
	part := func(field string) string { return d.read(v, field, parseText).text }
	return attachment{id: part(attachmentID), url: part(attachmentURL), name: part(attachmentName), contentType: part(attachmentType)}
}
