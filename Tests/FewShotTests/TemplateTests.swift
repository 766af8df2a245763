import Datasets
import FewShot
import Support
import TestSupport
import Testing

@Suite struct TemplateTests {
    @Test func theAnswerStandsAtTheMask() throws {
        let template = try Template("{text} It was [MASK]. {{sure}}")
        let prompt = try template.render(text: "A {film} with [MASK]s.")
        #expect(prompt == Prompt(before: "A {film} with [MASK]s. It was ", after: ". {sure}", wordPrefix: " "))
        #expect(prompt.answered(with: "great") == "A {film} with [MASK]s. It was great. {sure}")
        #expect(template.hasMask && !template.needsTextB)
        #expect(try Template("[MASK]{text}").render(text: "a") == Prompt(before: "", after: "a", wordPrefix: ""))
        #expect(try Template("{text}:[MASK]").wordPrefix == "")
    }

    @Test func withoutAMaskTheAnswerIsAtTheEnd() throws {
        let prompt = try Template("{text}\nTopic:  ").render(text: "x ")
        #expect(prompt == Prompt(before: "x \nTopic:", after: nil, wordPrefix: " "))
        #expect(prompt.answered(with: "sport") == "x \nTopic: sport")
        #expect(try Template("{text}\n").render(text: "x") == Prompt(before: "x\n", after: nil, wordPrefix: ""))
        // Spaces of the text are cut, too, but do not make words begin with one.
        #expect(try Template("{text}").render(text: "x  ") == Prompt(before: "x", after: nil, wordPrefix: ""))
        #expect(try Template("{text}").render(text: "  ") == Prompt(before: "", after: nil, wordPrefix: ""))
    }

    @Test func pairs() throws {
        let template = try Template("{text}? [MASK], {text_b}")
        #expect(template.needsTextB)
        #expect(
            try template.render(InputText("a", "{b}")) == Prompt(before: "a? ", after: ", {b}", wordPrefix: " "))
        expectError(.invalidArgument, "{text_b}", "no second text") { try template.render(text: "a") }
        expectError(.invalidArgument, "no {text_b}") { try Template("{text}").render(text: "a", textB: "b") }
    }

    @Test func aMaskAtTheEndIsTheEnd() throws {
        let template = try Template("{text} It was [MASK]")
        #expect(try template.render(text: "a").after == "")
        let causal = try template.answeringAtEnd()
        #expect(try causal.render(text: "a") == Prompt(before: "a It was", after: nil, wordPrefix: " "))
        #expect(try Template("{text}!").answeringAtEnd().render(text: "a").before == "a!")
        expectError(.incompatible, "{text} It was [MASK].", "text after [MASK]") {
            try Template("{text} It was [MASK].").answeringAtEnd()
        }
    }

    @Test func mistakesAreExplained() {
        expectError(.format, "\"It was [MASK]\"", "no {text}") { try Template("It was [MASK]") }
        expectError(.format, "no {text}") { try Template("") }
        expectError(.format, "{label}", "{text}") { try Template("{text} {label}") }
        expectError(.format, "{}") { try Template("{text} {}") }
        expectError(.format, "[MASK]", "2") { try Template("[MASK]\n{text} [MASK]") }
        expectError(.format, "{ without a }", "{{") { try Template("{text} {") }
        expectError(.format, "{ without a }") { try Template("{text") }
        expectError(.format, "} without a {", "}}") { try Template("{text}}") }
    }

    @Test func defaultsAreOfTheirKind() throws {
        for model in PromptedModel.allCases {
            let template = Template.default(for: model)
            let prompt = try template.render(text: "x")
            #expect(try Template(template.source).render(text: "x") == prompt)
            #expect((prompt.after != nil) == (model == .masked))
            #expect(prompt.wordPrefix == (model == .sentenceEncoder ? "" : " "))
        }
    }
}
