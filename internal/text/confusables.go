package text

// Look-alikes: each pair is a character and the Latin letter that it passes for. The facts are those of Unicode's
// confusables.txt (UTS #39, Unicode Security Mechanisms), limited to letters that look alike in common fonts at reading
// size and to the scripts that attacks use; case is kept where the table there folds it away. Pairs are our selection.
const (
	cyrillicPairs = "аaеeоoрpсcуyхxѕsіiїiјjһhԁdԛqԝwѵvӏlүyԍgьbгr" +
		"АAВBЕEКKМMНHОOРPСCТTУYХXЅSІIЇIЈJҺHԚQԜWӀIҮYԌGѴVЬbҒF"
	greekPairs = "αaοoρpνvυuιiκkτtγyηnωwσoχxϲcϳjεe" +
		"ΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXϹCͿJ"
	otherPairs = "աwցgհhոnսuօoզqյjՏSՕOԼLՍUՀZ" + // Armenian
		"ᎪAᏴBᏟCᎠDᎬEᎰFᏀGᎻHᎥiᎫJᏦKᏞLᎷMᏎSᎢTᏙVᎳWᎽYᏃZᏢPᎡRᏒRᏚSᎾO" + // Cherokee
		"ⲀAⲂBⲈEⲎHⲒIⲔKⲘMⲚNⲞOⲟoⲢPⲣpⲤCⲥcⲦTⲨYⲬXⲭx" + // Coptic
		"ꓮAꓐBꓚCꓓDꓰEꓝFꓖGꓧHꓲIꓙJꓗKꓡLꓟMꓠNꓳOꓑPꓣRꓢSꓔTꓴUꓦVꓪWꓫXꓬYꓜZ" + // Lisu
		"𐐄O𐐬o𐐽c𐑈s𐓂O𐓪o" // Deseret, Osage
	// Phonetic and other Latin letters that pass for plain ones, small capitals first.
	smallPairs = "ᴀaʙbᴄcᴅdᴇeꜰfɢgʜhɪiᴊjᴋkʟlᴍmɴnᴏoᴘpꞯqʀrꜱsᴛtᴜuᴠvᴡwʏyᴢz"
	latinPairs = "ɑaɡgɩiƅbƍdƖlꙅsꜝiɋqɐaɔcǝeɟfɥhıiɾrʞkɯmɹrʇtʌvʍwʎy"
	// From Latin into a word that is otherwise Cyrillic or Greek.
	toCyrillicPairs = "aаeеoоpрcсyуxхsѕiіjјhһkкmмtтbвnпAАBВEЕKКMМHНOОPРCСTТYУXХSЅIІJЈ"
	toGreekPairs    = "aαoοpρvνuυiιkκtτyγnηwωxχeεAΑBΒEΕZΖHΗIΙKΚMΜNΝOΟPΡTΤYΥXΧ"
)

// pairs reads a list of pairs.
func pairs(lists ...string) map[rune]rune {
	m := make(map[rune]rune)
	for _, list := range lists {
		from := rune(0)
		for _, r := range list {
			if from == 0 {
				from = r
				continue
			}
			m[from] = r
			from = 0
		}
	}
	return m
}

var (
	toLatin       = pairs(cyrillicPairs, greekPairs, otherPairs)
	smallCapitals = pairs(smallPairs)
	fromLatin     = pairs(smallPairs, latinPairs)
	toCyrillic    = pairs(toCyrillicPairs)
	toGreek       = pairs(toGreekPairs)
)
